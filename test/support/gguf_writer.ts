/** Type ids of GGUF metadata values. */
export const valueTypes = {
  uint8: 0,
  int8: 1,
  uint16: 2,
  int16: 3,
  uint32: 4,
  int32: 5,
  float32: 6,
  bool: 7,
  string: 8,
  array: 9,
  uint64: 10,
  int64: 11,
  float64: 12,
} as const;

export type ValueType = keyof typeof valueTypes;

export interface MetadataEntry {
  readonly key: string;
  readonly type: ValueType;
  /** Of an array's elements. */
  readonly of?: ValueType;
  readonly value: unknown;
}

export interface TensorEntry {
  readonly name: string;
  /** Innermost axis first, as in the file. */
  readonly dims: readonly (number | bigint)[];
  readonly typeId: number;
  readonly data: Uint8Array;
  /** Where the header says the data is, from the start of the data; default: where it is. */
  readonly offset?: number | bigint;
}

/** A GGUF file. The fields after `tensors` are for files that lie. */
export interface GgufFile {
  readonly metadata?: readonly MetadataEntry[];
  readonly tensors?: readonly TensorEntry[];
  readonly alignment?: number;
  readonly magic?: string;
  readonly version?: number;
  readonly bigEndian?: boolean;
  readonly tensorCount?: bigint;
  readonly metadataCount?: bigint;
}

/** Writes a GGUF file, valid unless `file` says otherwise. Data are placed one after the other, aligned. */
export function writeGguf(file: GgufFile): Uint8Array<ArrayBuffer> {
  const { tensors = [], bigEndian = false } = file;
  const alignment = file.alignment || 32;
  const metadata = [...(file.metadata ?? [])];
  if (file.alignment !== undefined) {
    metadata.push({ key: "general.alignment", type: "uint32", value: file.alignment });
  }
  const out = new Writer(!bigEndian);
  out.raw(new TextEncoder().encode(file.magic ?? "GGUF"));
  out.number("uint32", file.version ?? 3);
  out.number("uint64", file.tensorCount ?? BigInt(tensors.length));
  out.number("uint64", file.metadataCount ?? BigInt(metadata.length));
  for (const entry of metadata) {
    out.string(entry.key);
    out.number("uint32", valueTypes[entry.type]);
    out.value(entry.type, entry.value, entry.of);
  }
  let end = 0;
  for (const tensor of tensors) {
    out.string(tensor.name);
    out.number("uint32", tensor.dims.length);
    for (const dim of tensor.dims) out.number("uint64", dim);
    out.number("uint32", tensor.typeId);
    out.number("uint64", tensor.offset ?? end);
    end = pad(end + tensor.data.byteLength, alignment);
  }
  for (const tensor of tensors) {
    out.align(alignment);
    out.raw(tensor.data);
  }
  return out.bytes();
}

/** An F32 tensor of `dims` (innermost first) filled by `value(i)`. */
export function f32Tensor(name: string, dims: readonly number[], value: (i: number) => number): TensorEntry {
  const count = dims.reduce((product, dim) => product * dim, 1);
  const data = new Uint8Array(Float32Array.from({ length: count }, (_, i) => value(i)).buffer);
  return { name, dims, typeId: 0, data };
}

function pad(size: number, alignment: number): number {
  return Math.ceil(size / alignment) * alignment;
}

class Writer {
  readonly #parts: Uint8Array[] = [];
  readonly #littleEndian: boolean;
  #size = 0;

  constructor(littleEndian: boolean) {
    this.#littleEndian = littleEndian;
  }

  raw(bytes: Uint8Array): void {
    this.#parts.push(bytes);
    this.#size += bytes.byteLength;
  }

  align(alignment: number): void {
    this.raw(new Uint8Array(pad(this.#size, alignment) - this.#size));
  }

  string(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.number("uint64", bytes.byteLength);
    this.raw(bytes);
  }

  value(type: ValueType, value: unknown, of: ValueType | undefined): void {
    if (type === "string") this.string(String(value));
    else if (type !== "array") this.number(type, value as number | bigint | boolean);
    else {
      if (of === undefined || !Array.isArray(value))
        throw new TypeError("an array needs an element type and values");
      this.number("uint32", valueTypes[of]);
      this.number("uint64", value.length);
      for (const element of value) this.value(of, element, undefined);
    }
  }

  number(type: Exclude<ValueType, "string" | "array">, value: number | bigint | boolean): void {
    const view = new DataView(new ArrayBuffer(bytesOf[type]));
    const little = this.#littleEndian;
    const number = Number(value);
    if (type === "uint64") view.setBigUint64(0, BigInt(value), little);
    else if (type === "int64") view.setBigInt64(0, BigInt(value), little);
    else if (type === "float32") view.setFloat32(0, number, little);
    else if (type === "float64") view.setFloat64(0, number, little);
    else if (view.byteLength === 1) view.setUint8(0, number);
    else if (view.byteLength === 2) view.setUint16(0, number, little);
    else view.setUint32(0, number, little);
    this.raw(new Uint8Array(view.buffer));
  }

  bytes(): Uint8Array<ArrayBuffer> {
    const all = new Uint8Array(this.#size);
    let at = 0;
    for (const part of this.#parts) {
      all.set(part, at);
      at += part.byteLength;
    }
    return all;
  }
}

const bytesOf = {
  uint8: 1,
  int8: 1,
  bool: 1,
  uint16: 2,
  int16: 2,
  uint32: 4,
  int32: 4,
  float32: 4,
  uint64: 8,
  int64: 8,
  float64: 8,
} as const;
