import { SluiceError } from "../../errors.ts";
import type { MetadataValue, ModelFile, TensorInfo } from "../../source/model_file.ts";

/** Typed access to a file's metadata and tensors, with errors that name the key and both numbers. */
export class FileReader {
  readonly file: ModelFile;
  readonly architecture: string;
  readonly #tensors: ReadonlyMap<string, TensorInfo>;

  constructor(file: ModelFile) {
    this.file = file;
    const architecture = file.metadata["general.architecture"];
    if (typeof architecture !== "string") {
      throw badFile(file, "it does not say its general.architecture", {});
    }
    this.architecture = architecture;
    this.#tensors = new Map(file.tensors.map((tensor) => [tensor.name, tensor]));
  }

  /** Metadata `<architecture>.<key>`. */
  #value(key: string): MetadataValue | undefined {
    return this.file.metadata[`${this.architecture}.${key}`];
  }

  text(key: string): string | undefined {
    const value = this.#value(key);
    return typeof value === "string" ? value : undefined;
  }

  /** A finite number; `fallback` where the key is absent. */
  number(key: string, fallback?: number): number {
    const value = this.#value(key);
    if (typeof value === "number" && Number.isFinite(value)) return value;
    if (value === undefined && fallback !== undefined) return fallback;
    throw badFile(this.file, `metadata ${this.architecture}.${key} is ${String(value)}, not a number`, {});
  }

  /** A whole number from 1 to `most`. */
  count(key: string, most: number, fallback?: number): number {
    const value = this.number(key, fallback);
    if (!Number.isInteger(value) || value < 1 || value > most) {
      throw badFile(this.file, `metadata ${this.architecture}.${key} is ${value}, not in 1 to ${most}`, {
        value,
        most,
      });
    }
    return value;
  }

  /** The same where 0, as llama.cpp writes it, is "not set". */
  setCount(key: string, most: number): number | undefined {
    return this.number(key, 0) === 0 ? undefined : this.count(key, most);
  }

  /** A number that multiplies; 0 is "not set", which is 1. */
  factor(key: string): number {
    return this.number(key, 0) || 1;
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.#value(key) ?? fallback;
    if (typeof value === "boolean") return value;
    throw badFile(this.file, `metadata ${this.architecture}.${key} is ${String(value)}, not a flag`, {});
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

  contradiction(message: string, details: Readonly<Record<string, number>>): SluiceError {
    return badFile(this.file, message, details);
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
