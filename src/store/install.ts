import { SluiceError } from "../errors.ts";
import type { PagePlan } from "../quant/page.ts";

const MAX_BATCH_BYTES = 16 * 2 ** 20;

/** Runs of pages of at most 16 MiB, or one page. */
export function batchesOf(pages: readonly PagePlan[]): PagePlan[][] {
  const batches: PagePlan[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const page of pages) {
    if (bytes + page.bytes > MAX_BATCH_BYTES) {
      batches.push([]);
      bytes = 0;
    }
    batches.at(-1)?.push(page);
    bytes += page.bytes;
  }
  return batches;
}

export function storageFull(modelId: string): SluiceError {
  return new SluiceError("storage-full", `the disk has no room for more pages of ${modelId}`, {
    remedy:
      "Free disk space or remove another model; what is there is kept, the rest is fetched when needed.",
    details: { modelId },
  });
}

export function notKept(modelId: string, pages: number): SluiceError {
  return new SluiceError("storage-full", `${pages} pages of ${modelId} were written and are not on disk`, {
    remedy: "This site's data was removed while it was in use: load the model again.",
    details: { modelId, pages },
  });
}

export function writeFailed(modelId: string, cause: unknown): SluiceError {
  return new SluiceError("storage-corrupt", `pages of ${modelId} could not be written: ${cause}`, {
    remedy: "The next load fetches them again; if it happens again, clear this site's data.",
    details: { modelId },
    cause,
  });
}
