import type { TensorType } from "./formats.ts";

/** `bytes` bytes of a model file from absolute `offset`. */
export interface ByteRange {
  readonly offset: number;
  readonly bytes: number;
}

/** Where weight (r, c) of a matrix lies in a run of weights of a plain type: at `first + r · row + c · col`. */
export interface Gather {
  readonly first: number;
  readonly row: number;
  readonly col: number;
}

/** One matrix (or a row range of one, or a vector as a matrix of one row) inside a page. */
export interface PagePart {
  /** The tensor it comes from, for messages. */
  readonly tensor: string;
  /** Its type in the file. */
  readonly type: TensorType;
  /** Its type in the page. Vectors are stored as F32; otherwise the file's own, unless it is quantised on the way. */
  readonly stored: TensorType;
  /** Output features. A vector is one row. */
  readonly rows: number;
  /** Input features, the contiguous axis in the file. */
  readonly cols: number;
  /** Where its rows lie in the model file, in the file's own block format. */
  readonly source: ByteRange;
  /** How its weights are picked from `source`; absent: row after row. */
  readonly gather?: Gather | undefined;
  /** Where it starts inside the page, a multiple of 256 bytes. */
  readonly offset: number;
  /** Its size in the GPU layout of its stored type. */
  readonly bytes: number;
}

/**
 * The unit of storage and transfer: what travels together from file to disk to GPU, in the GPU layout.
 * One expert of one layer, or some dense tensors (at most 16 MiB unless a single row is larger).
 */
export interface PagePlan {
  /** Position in the model's page list; the key in the store. */
  readonly index: number;
  readonly label: string;
  readonly parts: readonly PagePart[];
  /** Total size, a multiple of 256. */
  readonly bytes: number;
}

/** Runs of pages of at most `maxBytes`, or one page. */
export function batchesOf(pages: readonly PagePlan[], maxBytes: number): PagePlan[][] {
  const batches: PagePlan[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const page of pages) {
    if (bytes + page.bytes > maxBytes) {
      batches.push([]);
      bytes = 0;
    }
    batches.at(-1)?.push(page);
    bytes += page.bytes;
  }
  return batches;
}
