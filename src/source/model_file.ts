import type { TensorType } from "../quant/formats.ts";
import type { Gather } from "../quant/page.ts";

/** A metadata value as a plain, clonable value. 64-bit integers are numbers when safe. */
export type MetadataValue = string | number | bigint | boolean | readonly MetadataValue[];
export type Metadata = Readonly<Record<string, MetadataValue>>;

/** One tensor of a model file. */
export interface TensorInfo {
  readonly name: string;
  readonly type: TensorType;
  /** Row-major, outermost axis first: `[experts, rows, cols]`, `[rows, cols]` or `[length]`. */
  readonly shape: readonly number[];
  /** Absolute position in the file, in bytes. */
  readonly offset: number;
  readonly bytes: number;
  /**
   * Where each slice along the first axis starts, where they do not follow each other from `offset` on: experts stored
   * as tensors of their own, or one of two matrices that lie in one tensor by turns. Slices are of equal size.
   */
  readonly slices?: readonly number[] | undefined;
  /** Where each weight lies in a slice of plain numbers of `bytes` bytes, where it is not row after row. */
  readonly gather?: (Gather & { readonly bytes: number }) | undefined;
  /** The type it is quantised to when it is installed; absent: its own. */
  readonly stored?: TensorType | undefined;
}

/** One of the files that a model is spread over. */
export interface FileInfo {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
}

/** What the header of a model file says. Plain data: it crosses workers and is kept in the catalogue. */
export interface ModelFile {
  /**
   * `gguf`: metadata and tensors under the names of GGUF. `safetensors`: tensors under their own names, and as metadata
   * the texts of `config.json` and of those files beside it that are there, under the files' names.
   */
  readonly format: "gguf" | "safetensors";
  readonly name: string;
  /** Bytes, of all files together. */
  readonly size: number;
  /** Where there are several: positions of tensors count through them, one after the other in this order. */
  readonly files?: readonly FileInfo[] | undefined;
  readonly metadata: Metadata;
  readonly tensors: readonly TensorInfo[];
}
