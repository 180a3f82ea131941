import type { TensorType } from "../quant/formats.ts";

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
}

/** What the header of a model file says. Plain data: it crosses workers and is kept in the catalogue. */
export interface ModelFile {
  readonly format: "gguf";
  readonly name: string;
  readonly size: number;
  readonly metadata: Metadata;
  readonly tensors: readonly TensorInfo[];
}
