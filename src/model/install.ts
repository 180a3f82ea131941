import { abortedError, SluiceError } from "../errors.ts";
import type { Pager } from "../experts/pager.ts";
import { batchesOf, type PagePlan } from "../quant/page.ts";
import type { StoreService } from "../store/service.ts";
import type { ModelPages } from "./pages.ts";

/** Pages brought at a time, between which a generation's own pages go first. */
const BATCH_BYTES = 8 * 2 ** 20;

/** Fetches what nobody asked for yet, most used first, behind whatever runs; then fills GPU memory with it. */
export class BackgroundInstall {
  readonly #store: StoreService;
  readonly #modelId: string;
  readonly #pages: ModelPages;
  readonly #pager: Pager;
  readonly #onProgress: (bytesDone: number) => void;
  #running: Promise<void> | undefined;
  #isDone = false;
  #isStopped = false;

  /** @param onProgress told the bytes of model file that are on disk */
  constructor(
    store: StoreService,
    modelId: string,
    pages: ModelPages,
    pager: Pager,
    onProgress: (bytesDone: number) => void,
  ) {
    this.#store = store;
    this.#modelId = modelId;
    this.#pages = pages;
    this.#pager = pager;
    this.#onProgress = onProgress;
  }

  /**
   * Goes on where it left off. Resolves when everything is there.
   * @throws SluiceError of the store; a later call tries again. `aborted` after `stop`.
   */
  run(): Promise<void> {
    if (this.#isDone) return Promise.resolve();
    this.#running ??= this.#bringAll()
      .then(() => {
        this.#isDone = true;
      })
      .finally(() => {
        this.#running = undefined;
      });
    return this.#running;
  }

  /** Nothing is started any more. */
  stop(): void {
    this.#isStopped = true;
  }

  async #bringAll(): Promise<void> {
    for (;;) {
      try {
        await this.#toDisk();
        while (await this.#pager.fill(BATCH_BYTES)) if (this.#isStopped) throw abortedError();
        return;
      } catch (error) {
        // Whoever aborts a call aborts its reads, and these with them.
        if (this.#isStopped) throw abortedError(error);
        if (!(error instanceof SluiceError) || error.code !== "aborted") throw error;
      }
    }
  }

  /** A disk that keeps nothing is no obstacle: what fits the GPU is fetched straight to it. */
  async #toDisk(): Promise<void> {
    const missing = new Set(await this.#store.missing(this.#modelId));
    const left = this.#pages.pages.filter(({ index }) => missing.has(index));
    const { pool } = this.#pager.save();
    const uses = new Map(
      this.#pages.sites.flatMap((site, s) =>
        site.flatMap((page, e) => (page ? [[page.index, pool.uses[s]?.[e] ?? 0] as const] : [])),
      ),
    );
    const usesOf = ({ index }: PagePlan) => uses.get(index) ?? 0;
    left.sort((a, b) => usesOf(b) - usesOf(a) || a.index - b.index);
    let bytesDone = this.#pages.sourceBytes - left.reduce((sum, page) => sum + sourceBytes(page), 0);
    for (const batch of batchesOf(left, BATCH_BYTES)) {
      if (this.#isStopped) throw abortedError();
      this.#onProgress(bytesDone);
      try {
        await this.#store.install(
          this.#modelId,
          batch.map(({ index }) => index),
        );
      } catch (error) {
        if (error instanceof SluiceError && error.code === "storage-full") return;
        throw error;
      }
      bytesDone += batch.reduce((sum, page) => sum + sourceBytes(page), 0);
    }
    this.#onProgress(bytesDone);
  }
}

function sourceBytes({ parts }: PagePlan): number {
  return parts.reduce((sum, { source }) => sum + source.bytes, 0);
}
