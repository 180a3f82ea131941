import type { Progress } from "../api.ts";
import { SluiceError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { align } from "../quant/layout.ts";
import type { PagePlan } from "../quant/page.ts";
import type { ModelFile } from "../source/model_file.ts";
import type { StoreService } from "../store/service.ts";
import { planModel } from "./archs/index.ts";
import { type ModelPages, planPages } from "./pages.ts";
import type { ModelPlan } from "./plan.ts";
import { requireRunnable } from "./runnable.ts";
import { Runner } from "./runner.ts";
import { allocateState, cacheBytesPerToken, moeSites, type StateSizes } from "./state.ts";
import { Weights } from "./weights.ts";

const DEFAULT_CONTEXT_TOKENS = 4096;
/** Pages asked of the store at a time: few enough that progress shows, enough that neighbours share a request. */
const BATCH_BYTES = 4 * 2 ** 20;
/** Prompt tokens per replay. */
const CHUNK_TOKENS = 128;
/** Prompt tokens a lane computes side by side. */
const TILE_TOKENS = 8;

export interface ModelOptions {
  readonly contextTokens?: number | undefined;
  readonly gpuBytes?: number | undefined;
  /** Below the default for tests. */
  readonly chunkTokens?: number | undefined;
}

/** A model's plan and pages, checked before anything is allocated. */
export interface Prepared {
  readonly plan: ModelPlan;
  readonly pages: ModelPages;
  readonly sizes: StateSizes;
}

/** @throws SluiceError `unsupported-model`, `bad-model-file`, `bad-request`, `out-of-memory` */
export function prepare(file: ModelFile, options: ModelOptions): Prepared {
  const plan = planModel(file);
  requireRunnable(plan);
  const context = options.contextTokens ?? Math.min(plan.contextTokens, DEFAULT_CONTEXT_TOKENS);
  if (!Number.isInteger(context) || context < 1 || context > plan.contextTokens) {
    throw new SluiceError("bad-request", `a context of ${context} tokens was asked for`, {
      remedy: `Ask for 1 to ${plan.contextTokens} tokens, which is what this model was made for.`,
      details: { asked: context, most: plan.contextTokens },
    });
  }
  const chunk = align(Math.min(options.chunkTokens ?? CHUNK_TOKENS, context), TILE_TOKENS);
  const pages = planPages(plan);
  const weightBytes = pages.pages.reduce((sum, { bytes }) => sum + bytes, 0);
  const needed = weightBytes + context * cacheBytesPerToken(plan);
  if (options.gpuBytes !== undefined && needed > options.gpuBytes) {
    throw new SluiceError("out-of-memory", `${plan.name} needs ${needed} bytes of GPU memory`, {
      remedy: "Raise the budget, lower contextTokens, or use a smaller file.",
      details: { needed, budget: options.gpuBytes },
    });
  }
  return { plan, pages, sizes: { context, chunk, tile: TILE_TOKENS } };
}

/**
 * Brings a prepared model to the GPU: allocates, compiles, and streams its pages from the store.
 * @throws SluiceError of the store, `out-of-memory`, `limits-too-low`, `shader-error`, `device-lost`, `aborted`
 */
export async function loadRunner(
  gpu: Gpu,
  store: StoreService,
  modelId: string,
  { plan, pages, sizes }: Prepared,
  onProgress: (progress: Progress) => void,
  signal: AbortSignal,
): Promise<Runner> {
  await store.plan(modelId, pages.pages);
  const { weights, runner } = await gpu.checked(() => {
    const weights = new Weights(gpu, pages, layersOfSites(plan));
    const state = allocateState(gpu, plan, sizes);
    return { weights, runner: new Runner(gpu, plan, weights, state, sizes) };
  });
  const compiled = gpu.ready();
  // A compile that fails while pages stream is told when they are there.
  compiled.catch(() => {});
  await streamPages(gpu, store, modelId, weights, pages, onProgress, signal);
  await compiled;
  return runner;
}

/** Reads batch after batch, the next one on its way while one is uploaded. */
async function streamPages(
  gpu: Gpu,
  store: StoreService,
  modelId: string,
  weights: Weights,
  { pages, sourceBytes }: ModelPages,
  onProgress: (progress: Progress) => void,
  signal: AbortSignal,
): Promise<void> {
  const batches = batchesOf(pages);
  const read = (i: number) => {
    const reading = store.read(modelId, batches[i]?.map(({ index }) => index) ?? []);
    reading.catch(() => {});
    return reading;
  };
  let bytesDone = 0;
  let next = batches.length > 0 ? read(0) : Promise.resolve([]);
  for (const [i, batch] of batches.entries()) {
    onProgress({ phase: "load", bytesDone, bytesTotal: sourceBytes });
    const buffers = await next;
    signal.throwIfAborted();
    if (i + 1 < batches.length) next = read(i + 1);
    await gpu.checked(() => {
      for (const [j, page] of batch.entries()) weights.upload(page, buffers[j] as ArrayBuffer);
      return gpu.done();
    });
    for (const { parts } of batch) for (const { source } of parts) bytesDone += source.bytes;
  }
  onProgress({ phase: "load", bytesDone, bytesTotal: sourceBytes });
}

/** Runs of pages of at most BATCH_BYTES, or one page. */
function batchesOf(pages: readonly PagePlan[]): PagePlan[][] {
  const batches: PagePlan[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const page of pages) {
    if (bytes + page.bytes > BATCH_BYTES) {
      batches.push([]);
      bytes = 0;
    }
    batches.at(-1)?.push(page);
    bytes += page.bytes;
  }
  return batches;
}

function layersOfSites(plan: ModelPlan): number[] {
  return plan.layers.flatMap(({ blocks }, l) =>
    blocks.flatMap((block) => (block.kind === "feed-forward" && block.moe ? [l] : [])),
  );
}

/** Sites, experts and routes, for `ModelInfo`. */
export function describeExperts(plan: ModelPlan): { experts: number; expertsPerToken: number } {
  const [site] = moeSites(plan);
  if (!site) return { experts: 0, expertsPerToken: 0 };
  const { selection } = site.router;
  return { experts: site.experts, expertsPerToken: "k" in selection ? selection.k : site.experts };
}
