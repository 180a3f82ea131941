import type { PagePlan } from "../quant/page.ts";
import type { ModelFile } from "../source/model_file.ts";
import type { SourceSpec } from "../source/source.ts";

/** Bytes moved and held by the store side, since the store was started. */
export interface StoreStats {
  readonly bytesFetched: number;
  /** Largest total of model bytes held in memory at once (fetched pieces and repacked pages). */
  readonly hostBytesPeak: number;
  /** The disk had no room for a page of a model that is open: such pages are fetched each time. */
  readonly storageFull: boolean;
}

export interface OpenedModel {
  readonly id: string;
  readonly file: ModelFile;
}

/**
 * What the engine asks of the store, in a worker (over a port) or in the same thread.
 * Every method may throw SluiceError.
 */
export interface StoreService {
  /** Reads a model's header, from the catalogue if it is known, else from its source. */
  open(spec: SourceSpec): Promise<OpenedModel>;
  /** Declares the pages of an open model. Pages stored under another layout are dropped. */
  plan(modelId: string, pages: readonly PagePlan[]): Promise<void>;
  /**
   * Pages in the GPU layout, in the order asked for: from disk if there and sound, else fetched, repacked
   * and stored. The caller asks for a batch that fits its memory; buffers are transferred.
   */
  read(modelId: string, pages: readonly number[]): Promise<ArrayBuffer[]>;
  /** Which declared pages are not on disk, in the order declared. The pages themselves are not looked at. */
  missing(modelId: string): Promise<number[]>;
  /**
   * Sees to it that these pages are on disk, fetching what is missing: in the order given, at most 16 MiB (or a
   * page) at a time, and no request starts while a `read` has one. Resolves when all are there.
   * @throws SluiceError `storage-full` when they cannot be kept, `storage-corrupt` when the disk fails,
   * `network`, `bad-request`, `aborted`.
   */
  install(modelId: string, pages: readonly number[]): Promise<void>;
  /** Makes a running `read`, `install` or `open` of this model end with `aborted`. */
  abort(modelId: string): void;
  stats(): Promise<StoreStats>;
  /** Waits for pending writes, then lets the model's source go. Stored pages stay. */
  close(modelId: string): Promise<void>;
}
