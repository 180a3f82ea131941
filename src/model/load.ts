import type { CapacityPlan, EngineLoadOptions, ExpertOptions, MemoryBudget, Progress } from "../api.ts";
import { SluiceError } from "../errors.ts";
import { type CapacitySite, poolBytes, shareSlots } from "../experts/capacity.ts";
import { DEFAULTS } from "../experts/defaults.ts";
import { type Learned, Pager } from "../experts/pager.ts";
import { POLICIES } from "../experts/policy/index.ts";
import { PREDICTORS } from "../experts/predictor/index.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { ABSENT, ELSEWHERE } from "../kernels/route.ts";
import { align } from "../quant/layout.ts";
import { batchesOf, type PagePlan } from "../quant/page.ts";
import type { ModelFile } from "../source/model_file.ts";
import { DEFAULT_HOST_BYTES, storeShare } from "../store/limits.ts";
import type { StoreService } from "../store/service.ts";
import { planModel } from "./archs/index.ts";
import { CacheCopy } from "./cache_copy.ts";
import { chooseForm, type FormedModel } from "./form.ts";
import { maxRoutes } from "./moe_plan.ts";
import { canAskEarly } from "./next_gates.ts";
import type { ModelPages } from "./pages.ts";
import type { ModelPlan } from "./plan.ts";
import { Routing } from "./routing.ts";
import { requireRunnable } from "./runnable.ts";
import { Runner, runnerBytes } from "./runner.ts";
import { allocateState, keptBytes, moeSites, type StateSizes, scaleRopes } from "./state.ts";
import { Weights } from "./weights.ts";

const DEFAULT_CONTEXT_TOKENS = 4096;
/** Pages asked of the store at a time: few enough that progress shows, enough that neighbours share a request. */
const BATCH_BYTES = 4 * 2 ** 20;
/** Prompt tokens per replay. */
const CHUNK_TOKENS = 128;
/** Prompt tokens a lane computes side by side. */
const TILE_TOKENS = 8;

/** Raise it when what a pool or a predictor saves changes its meaning. */
const LEARNED_VERSION = 1;
const MARKS = { absent: ABSENT, elsewhere: ELSEWHERE };

export interface ModelOptions extends EngineLoadOptions {
  /** Below the default for tests. */
  readonly chunkTokens?: number | undefined;
}

/** A model's plan and pages, checked before anything is allocated. */
export interface Prepared extends FormedModel {
  readonly sizes: StateSizes;
  readonly memory: MemoryBudget;
  readonly experts: ExpertOptions;
}

/** @throws SluiceError `unsupported-model`, `bad-model-file`, `bad-request`, `out-of-memory` */
export function prepare(file: ModelFile, options: ModelOptions): Prepared {
  const described = planModel(file);
  requireRunnable(described);
  const { contextTokens } = described;
  const context = options.contextTokens ?? Math.min(contextTokens, DEFAULT_CONTEXT_TOKENS);
  if (!Number.isInteger(context) || context < 1 || context > contextTokens) {
    throw new SluiceError("bad-request", `a context of ${context} tokens was asked for`, {
      remedy: `Ask for 1 to ${contextTokens} tokens, which is what this model was made for.`,
      details: { asked: context, most: contextTokens },
    });
  }
  const { memory = {}, experts = {} } = options;
  const chunk = align(Math.min(options.chunkTokens ?? CHUNK_TOKENS, context), TILE_TOKENS);
  const isTraced = experts.trace ?? false;
  const asksEarly = isTraced || (experts.predictor ?? DEFAULTS.predictor).startsWith("next-gate");
  const lookahead = asksEarly && canAskEarly(described) ? DEFAULTS.lookahead : 0;
  const kept = keptBytes(described, context);
  const { form, plan, pages } = chooseForm(file, options.install, memory.gpu, kept);
  const sizes = { context, chunk, tile: TILE_TOKENS, lookahead, isTraced };
  const least =
    bytesOf(pages.denseGroups.flat()) +
    kept +
    bytesOf(pages.sites.flatMap((site) => site.find((page) => page !== undefined) ?? []));
  if (memory.gpu !== undefined && least > memory.gpu) {
    throw new SluiceError("out-of-memory", `${plan.name} needs at least ${least} bytes of GPU memory`, {
      remedy: "Raise the budget, lower contextTokens, or use a smaller file.",
      details: { needed: least, budget: memory.gpu },
    });
  }
  return { form, plan, pages, sizes, memory, experts };
}

/** A model on the GPU, its experts still to come. */
export interface Loaded {
  readonly runner: Runner;
  readonly pager: Pager;
  readonly routing: Routing;
  readonly cache: CacheCopy;
}

/**
 * Brings a prepared model to the GPU: allocates, compiles, and streams its dense pages from the store.
 * @throws SluiceError of the store, `out-of-memory`, `limits-too-low`, `shader-error`, `device-lost`, `aborted`
 */
export async function loadRunner(
  gpu: Gpu,
  store: StoreService,
  modelId: string,
  { plan, pages, sizes, memory, experts }: Prepared,
  onProgress: (progress: Progress) => void,
  signal: AbortSignal,
): Promise<Loaded> {
  await store.plan(modelId, pages.pages, { name: plan.name, architecture: plan.architecture });
  const learned = readLearned(await store.recall(modelId));
  const { weights, state } = await gpu.checked(() => ({
    weights: new Weights(gpu, pages),
    state: allocateState(gpu, plan, sizes),
  }));
  const sites = describeSites(plan, pages, learned);
  const slots = await placeExperts(
    gpu,
    weights,
    sites.map(paged),
    memory,
    runnerBytes(plan, state, sizes),
    experts.capacity ?? DEFAULTS.capacity,
  );
  const routing = new Routing(plan);
  // Read at each guess: it may change.
  const topK = (site: number) => routing.k(site);
  const model = {
    sites: sites.map(({ experts }, s) => ({
      experts,
      get topK() {
        return topK(s);
      },
    })),
  };
  const pager = new Pager({
    sites: sites.map((site, s) => ({ ...site, slots: slots[s] as number })),
    slots: weights,
    marks: MARKS,
    read: (wanted) => store.read(modelId, wanted),
    hostBytes: (memory.host ?? DEFAULT_HOST_BYTES) - storeShare(memory.host),
    policy: POLICIES[experts.policy ?? DEFAULTS.policy],
    predictor: PREDICTORS[experts.predictor ?? DEFAULTS.predictor]({ model, saved: learned?.predictors }),
    saved: learned?.pool,
    keepsTrace: sizes.isTraced,
  });
  const runner = await gpu.checked(() => new Runner(gpu, plan, weights, state, sizes, pager, routing));
  const compiled = gpu.ready();
  // A compile that fails while pages stream is told when they are there.
  compiled.catch(() => {});
  const upload = (page: PagePlan, bytes: ArrayBuffer) => {
    weights.uploadDense(page, bytes);
    scaleRopes(gpu, state, sizes.context, page, bytes);
  };
  await streamPages(gpu, store, modelId, upload, pages, onProgress, signal);
  await compiled;
  await runner.setUp();
  return { runner, pager, routing, cache: new CacheCopy(gpu, plan, state, sizes.context) };
}

/** For the next load of the same model. */
export async function rememberLearned(store: StoreService, modelId: string, pager: Pager): Promise<void> {
  await store.remember(modelId, { version: LEARNED_VERSION, ...pager.save() });
}

function readLearned(kept: unknown): Learned | undefined {
  const { version, pool, predictors } = (kept ?? {}) as Partial<Learned> & { readonly version?: number };
  return version === LEARNED_VERSION && pool && predictors ? { pool, predictors } : undefined;
}

function describeSites(plan: ModelPlan, pages: ModelPages, learned: Learned | undefined) {
  return moeSites(plan).map(({ experts, router }, s) => {
    const site = pages.sites[s] ?? [];
    const pageBytes = site.find((page) => page !== undefined)?.bytes ?? 0;
    return {
      ...{ experts, topK: maxRoutes(router, experts), pageBytes },
      pages: site.map((page) => page?.index),
      pageless: [...site.keys()].filter((expert) => site[expert] === undefined),
      uses: learned?.pool.uses[s],
    };
  });
}

/** What of a site takes slots. */
function paged({
  experts,
  pageBytes,
  pageless,
  uses,
}: ReturnType<typeof describeSites>[number]): CapacitySite {
  const hasPage = (_: number, expert: number) => !pageless.includes(expert);
  return { pageBytes, experts: experts - pageless.length, uses: uses?.filter(hasPage) };
}

/**
 * Gives experts the slots they may have; where nobody set a limit, as many as the GPU has memory for.
 * @param reserved bytes that come on top of what is allocated
 */
async function placeExperts(
  gpu: Gpu,
  weights: Weights,
  sites: readonly CapacitySite[],
  { gpu: most, gpuExperts }: MemoryBudget,
  reserved: number,
  capacity: CapacityPlan,
): Promise<number[]> {
  const least = poolBytes(
    sites,
    sites.map(() => 1),
  );
  const all = poolBytes(
    sites,
    sites.map(({ experts }) => experts),
  );
  const left = most === undefined ? all : Math.max(0, most - gpu.counters.bytesAllocated - reserved);
  const asked =
    typeof gpuExperts === "string"
      ? Math.max(least, (all * Number.parseFloat(gpuExperts)) / 100)
      : gpuExperts;
  for (let budget = Math.min(all, left, asked ?? all); ; budget = Math.max(least, budget / 2)) {
    const slots = shareSlots(sites, budget, capacity);
    if (await gpu.allocate(() => weights.placeSites(slots))) return slots;
    if (budget > least) continue;
    throw new SluiceError("out-of-memory", `the GPU has no ${least} bytes for one expert of each layer`, {
      remedy: "Close other pages, use a smaller context, or take a smaller quantisation of the model.",
      details: { needed: least },
    });
  }
}

function bytesOf(pages: readonly PagePlan[]): number {
  return pages.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** Reads batch after batch, the next one on its way while one is uploaded. */
async function streamPages(
  gpu: Gpu,
  store: StoreService,
  modelId: string,
  upload: (page: PagePlan, bytes: ArrayBuffer) => void,
  { denseGroups, sourceBytes }: ModelPages,
  onProgress: (progress: Progress) => void,
  signal: AbortSignal,
): Promise<void> {
  const batches = batchesOf(denseGroups.flat(), BATCH_BYTES);
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
      for (const [j, page] of batch.entries()) upload(page, buffers[j] as ArrayBuffer);
      return gpu.done();
    });
    for (const { parts } of batch) for (const { source } of parts) bytesDone += source.bytes;
  }
  onProgress({ phase: "load", bytesDone, bytesTotal: sourceBytes });
}

/** Sites, experts and routes, for `ModelInfo`. */
export function describeExperts(plan: ModelPlan): { experts: number; expertsPerToken: number } {
  const [site] = moeSites(plan);
  if (!site) return { experts: 0, expertsPerToken: 0 };
  const { selection } = site.router;
  return { experts: site.experts, expertsPerToken: "k" in selection ? selection.k : site.experts };
}
