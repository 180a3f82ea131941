import { SluiceError } from "../../errors.ts";
import type { MetadataValue, ModelFile, TensorInfo } from "../../source/model_file.ts";

/** Typed access to a file's metadata and tensors, with errors that name the key and both numbers. */
export class FileReader {
  readonly file: ModelFile;
  readonly architecture: string;
  /** GGUF converters permute q and k of some families, for the pairs of the rope to be neighbours; others do not. */
  readonly permutesRope: boolean;
  readonly #tensors: ReadonlyMap<string, TensorInfo>;
  readonly #unread: Set<string>;

  constructor(file: ModelFile) {
    this.file = file;
    const architecture = file.metadata["general.architecture"];
    if (typeof architecture !== "string") {
      throw badFile(file, "it does not say its general.architecture", { key: "general.architecture" });
    }
    this.architecture = architecture;
    this.permutesRope = file.format === "gguf";
    this.#tensors = new Map(file.tensors.map((tensor) => [tensor.name, tensor]));
    this.#unread = new Set(this.#tensors.keys());
  }

  /** Metadata `<architecture>.<key>`. */
  #value(key: string): MetadataValue | undefined {
    return this.file.metadata[`${this.architecture}.${key}`];
  }

  text(key: string): string | undefined {
    const value = this.#value(key);
    if (value === undefined || typeof value === "string") return value;
    throw this.#wrong(key, value, "a text");
  }

  /** What a list says of layer `l`; undefined where the key is absent or one value for all. */
  listed(key: string, l: number): MetadataValue | undefined {
    const value = this.#value(key);
    if (!Array.isArray(value)) return undefined;
    if (l < value.length) return value[l] as MetadataValue;
    throw badFile(
      this.file,
      `metadata ${this.architecture}.${key} has ${value.length} values, none for layer ${l}`,
      {
        values: value.length,
        layer: l,
      },
    );
  }

  /** The same of a list of flags, which may be written as 0 and 1. */
  listedFlag(key: string, l: number): boolean | undefined {
    const value = this.listed(key, l);
    // One number for all is left to who asks, but is a number.
    if (value === undefined) this.number(key, 0);
    if (value === undefined || typeof value === "boolean") return value;
    if (value === 0 || value === 1) return value === 1;
    throw this.#wrong(key, value, "a flag");
  }

  /** A number from `least` on that a 32-bit float can hold; `fallback` where the key is absent. Of a list, its item `l`. */
  number(key: string, fallback?: number, l = 0, least = 0): number {
    const value = this.#number(key, fallback, l);
    if (value >= least) return value;
    throw badFile(this.file, `metadata ${this.architecture}.${key} is ${value}, below ${least}`, {
      value,
      least,
    });
  }

  #number(key: string, fallback: number | undefined, l: number): number {
    const value = this.listed(key, l) ?? this.#value(key);
    if (typeof value === "number" && Number.isFinite(Math.fround(value))) return value;
    if (value === undefined && fallback !== undefined) return fallback;
    throw this.#wrong(key, value, "a finite number");
  }

  /** As many numbers above 0 as `length`; undefined where the key is absent. */
  numbers(key: string, length: number): readonly number[] | undefined {
    const value = this.#value(key);
    if (value === undefined) return undefined;
    const list: readonly MetadataValue[] = Array.isArray(value) ? value : [];
    const numbers = list.filter((n) => typeof n === "number" && n > 0 && n < Number.POSITIVE_INFINITY);
    if (numbers.length === length && list.length === length) return numbers as number[];
    throw badFile(this.file, `metadata ${this.architecture}.${key} has not ${length} numbers above 0`, {
      length,
    });
  }

  /** A whole number from 1 to `most`. */
  count(key: string, most: number, fallback?: number, l = 0): number {
    return this.#whole(key, 1, most, fallback, l);
  }

  /** A whole number from 0, which it is where the key is absent, to `most`. */
  upTo(key: string, most: number, fallback = 0, l = 0): number {
    return this.#whole(key, 0, most, fallback, l);
  }

  #whole(key: string, least: number, most: number, fallback: number | undefined, l: number): number {
    const value = this.#number(key, fallback, l);
    if (Number.isInteger(value) && value >= least && value <= most) return value;
    const message = `metadata ${this.architecture}.${key} is ${value}, not in ${least} to ${most}`;
    throw badFile(this.file, message, { value, least, most });
  }

  /** The same where 0, as llama.cpp writes it, is "not set". */
  setCount(key: string, most: number): number | undefined {
    return this.number(key, 0) === 0 ? undefined : this.count(key, most);
  }

  /** A number that multiplies or divides; 0 is "not set", which is 1. */
  factor(key: string): number {
    const value = this.number(key, 0) || 1;
    if (Number.isFinite(Math.fround(1 / value))) return value;
    throw badFile(this.file, `metadata ${this.architecture}.${key} is ${value}, too small to divide by`, {
      value,
    });
  }

  hasKey(key: string): boolean {
    return this.#value(key) !== undefined;
  }

  /** Whether some key begins so. */
  hasKeys(prefix: string): boolean {
    return Object.keys(this.file.metadata).some((key) => key.startsWith(`${this.architecture}.${prefix}`));
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.#value(key) ?? fallback;
    if (typeof value === "boolean") return value;
    throw this.#wrong(key, value, "a flag");
  }

  /** The tensor `name`, which must have this shape. */
  tensor(name: string, shape: readonly number[]): TensorInfo {
    const found = this.optional(name, shape);
    if (!found) throw badFile(this.file, `tensor ${name} is missing`, { tensor: name });
    return found;
  }

  /** Leading axes of length 1 may be there or not; the tensor has the shape asked for. */
  optional(name: string, shape: readonly number[]): TensorInfo | undefined {
    const found = this.#tensors.get(name);
    this.#unread.delete(name);
    if (found && String(trim(found.shape)) !== String(trim(shape))) {
      throw badFile(
        this.file,
        `tensor ${name} has shape [${found.shape}], but the metadata asks for [${shape}]`,
        { tensor: name, actual: String(found.shape), expected: String(shape) },
      );
    }
    return found && found.shape.length !== shape.length ? { ...found, shape } : found;
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  /** Rows of `name`, [rows, cols], for the tensors whose size only they know. */
  rows(name: string): number {
    return this.#tensors.get(name)?.shape[0] ?? 0;
  }

  /** Of a tensor whose size only it knows; empty where there is none. */
  shape(name: string): readonly number[] {
    return this.#tensors.get(name)?.shape ?? [];
  }

  /** Tensors that nobody has asked for. */
  get unread(): ReadonlySet<string> {
    return this.#unread;
  }

  contradiction(message: string, details: Readonly<Record<string, number>>): SluiceError {
    return badFile(this.file, message, details);
  }

  /** For what only other models have. */
  unsupported(what: string, details: Readonly<Record<string, string | number>> = {}): SluiceError {
    return new SluiceError("unsupported-model", `${this.file.name} needs: ${what}`, {
      remedy: "Use a model without it.",
      details: { architecture: this.architecture, ...details },
    });
  }

  #wrong(key: string, value: MetadataValue | undefined, what: string): SluiceError {
    const name = `${this.architecture}.${key}`;
    return badFile(this.file, `metadata ${name} is ${String(value)}, not ${what}`, { key: name });
  }
}

/** Shape without leading axes of length 1. */
function trim(shape: readonly number[]): readonly number[] {
  const first = shape.findIndex((length) => length !== 1);
  return first === -1 ? [] : shape.slice(first);
}

function badFile(
  file: ModelFile,
  message: string,
  details: Readonly<Record<string, string | number>>,
): SluiceError {
  return new SluiceError("bad-model-file", `${file.name}: ${message}`, {
    remedy: "Download or convert the file again.",
    details,
  });
}
