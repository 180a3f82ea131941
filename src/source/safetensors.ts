import { SluiceError } from "../errors.ts";
import { fileBytes, type TensorType } from "../quant/formats.ts";
import { badFile } from "./gguf_errors.ts";
import type { TensorInfo } from "./model_file.ts";
import type { Source } from "./source.ts";

/** The length of the header, before it. */
const PREFIX_BYTES = 8;
/** What the format itself allows. */
const MAX_HEADER_BYTES = 100_000_000;
/** Read at first: most headers are in it. */
const FIRST_BYTES = 64 * 2 ** 10;
const MAX_AXES = 8;

/** Types by the name the format gives them. */
const types: Readonly<Record<string, TensorType>> = {
  F64: "F64",
  F32: "F32",
  F16: "F16",
  BF16: "BF16",
  I64: "I64",
  I32: "I32",
  I16: "I16",
  I8: "I8",
};

/**
 * Reads and checks the header of a safetensors file: afterwards every tensor is known to have as many bytes as its type
 * and shape take, inside the file, apart from the others and without a gap between them. Positions are in the file.
 * @throws SluiceError `bad-model-file` with both numbers, `unsupported-model` for a type that is not readable, and
 * what `source.read` throws
 */
export async function readSafetensors(source: Source, signal?: AbortSignal): Promise<TensorInfo[]> {
  const { name, size } = source;
  const first = await source.read(0, Math.min(size, FIRST_BYTES), signal);
  const bytes = headerLength(name, size, first);
  const start = PREFIX_BYTES + bytes;
  const header =
    start <= first.byteLength
      ? first.subarray(PREFIX_BYTES, start)
      : await source.read(PREFIX_BYTES, bytes, signal);
  const entries = Object.entries(parseObject(name, header)).filter(([key]) => key !== "__metadata__");
  const tensors = entries.map(([key, value]) => tensorInfo(name, key, value, start));
  checkPlaces(name, tensors, start, size);
  return tensors;
}

function headerLength(name: string, size: number, first: Uint8Array<ArrayBuffer>): number {
  if (size < PREFIX_BYTES) {
    throw badFile(name, `it is cut short: it has ${size} bytes, and at least ${PREFIX_BYTES} are needed`, {
      needed: PREFIX_BYTES,
      size,
    });
  }
  const length = new DataView(first.buffer, first.byteOffset).getBigUint64(0, true);
  if (length > BigInt(size - PREFIX_BYTES)) {
    throw badFile(name, `its header has ${length} bytes, after ${PREFIX_BYTES}; the file has ${size}`, {
      headerBytes: String(length),
      size,
    });
  }
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw badFile(
      name,
      `its header has ${length} bytes, more than the ${MAX_HEADER_BYTES} that are allowed`,
      {
        headerBytes: String(length),
        most: MAX_HEADER_BYTES,
      },
    );
  }
  return Number(length);
}

function parseObject(name: string, bytes: Uint8Array): object {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw badFile(
      name,
      `its header of ${bytes.byteLength} bytes is not JSON`,
      { headerBytes: bytes.byteLength },
      cause,
    );
  }
  if (isObject(value)) return value;
  throw badFile(name, "its header is not a JSON object", { headerBytes: bytes.byteLength });
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCounts(value: unknown, most: number): value is readonly number[] {
  return (
    Array.isArray(value) && value.length <= most && value.every((n) => Number.isSafeInteger(n) && n >= 0)
  );
}

function tensorInfo(file: string, name: string, entry: unknown, dataStart: number): TensorInfo {
  const { dtype, shape, data_offsets: range } = isObject(entry) ? entry : {};
  if (typeof dtype !== "string" || !isCounts(shape, MAX_AXES) || !isCounts(range, 2) || range.length !== 2) {
    throw badFile(file, `its header does not say type, shape and place of tensor ${name}`, { tensor: name });
  }
  const [begin, end] = range as readonly [number, number];
  const type = Object.hasOwn(types, dtype) ? types[dtype] : undefined;
  if (!type) {
    throw new SluiceError("unsupported-model", `tensor ${name} of ${file} has the type ${dtype}`, {
      remedy: "Use a file of the model in F32, F16 or BF16.",
      details: { name: file, tensor: name, type: dtype },
    });
  }
  const needed = shape.reduce((all, n) => all * BigInt(n), BigInt(fileBytes(type, 1)));
  if (BigInt(end) - BigInt(begin) !== needed) {
    const lies = `lies at ${begin} to ${end}, ${end - begin} bytes`;
    throw badFile(file, `tensor ${name} ${lies}; ${dtype} [${shape}] takes ${needed}`, {
      tensor: name,
      bytes: end - begin,
      needed: String(needed),
    });
  }
  return { name, type, shape, offset: dataStart + begin, bytes: end - begin };
}

/** The format leaves no byte unused: a gap or an overlap means that the header is not that of these data. */
function checkPlaces(file: string, tensors: readonly TensorInfo[], start: number, size: number): void {
  let end = start;
  let last = "the header";
  for (const { name, offset, bytes } of tensors.toSorted(
    (a, b) => a.offset - b.offset || a.bytes - b.bytes,
  )) {
    if (offset + bytes > size) {
      throw badFile(file, `tensor ${name} ends at byte ${offset + bytes}, the file has ${size}`, {
        tensor: name,
        needed: offset + bytes,
        size,
      });
    }
    if (offset !== end) {
      throw badFile(file, `tensor ${name} starts at byte ${offset}, but ${last} ends at ${end}`, {
        tensor: name,
        starts: offset,
        ends: end,
      });
    }
    end = offset + bytes;
    last = name;
  }
  if (end !== size)
    throw badFile(file, `${last} ends at byte ${end}, the file has ${size}`, { ends: end, size });
}
