import type { Gpu } from "../gpu/gpu.ts";
import { maxTiles, TILE_BYTES } from "../kernels/group.ts";
import { ROUTE_BYTES } from "../kernels/route.ts";
import { align } from "../quant/layout.ts";
import { type AttentionBlock, type ModelPlan, type MoeSpec, maxRoutes, type RopeSpec } from "./plan.ts";
import { ropeTable } from "./rope.ts";

/** Sizes the state and the programs are built for. */
export interface StateSizes {
  /** Positions of the cache. */
  readonly context: number;
  /** Tokens of a prefill replay. */
  readonly chunk: number;
  /** Tokens a lane computes side by side in prefill; `chunk` is a multiple of it. */
  readonly tile: number;
}

export interface CacheState {
  readonly keys: GPUBuffer;
  readonly values: GPUBuffer;
}

/** Everything the programs write: activations of one chunk, the cache, the sequence. */
export interface State {
  /** [context + 1] u32: the sequence; the sampler appends to it. */
  readonly tokens: GPUBuffer;
  /** [1] u32: lowest layer that missed an expert, or ABSENT. */
  readonly fault: GPUBuffer;
  /** [chunk, width] residual stream. */
  readonly x: GPUBuffer;
  /** [chunk, width] normalised. */
  readonly normed: GPUBuffer;
  readonly qkv: GPUBuffer;
  readonly q: GPUBuffer;
  readonly attended: GPUBuffer;
  readonly routerLogits: GPUBuffer;
  readonly routes: GPUBuffer;
  readonly counts: GPUBuffer;
  readonly tiles: GPUBuffer;
  readonly pairs: GPUBuffer;
  readonly hidden: GPUBuffer;
  readonly expertRows: GPUBuffer;
  /** [vocabulary] f32 */
  readonly logits: GPUBuffer;
  /** One cache for each attention block, in order. */
  readonly caches: ReadonlyMap<AttentionBlock, CacheState>;
  /** One table for each rope in the plan. */
  readonly ropes: ReadonlyMap<RopeSpec, GPUBuffer>;
}

/** Bytes the cache takes for each position. */
export function cacheBytesPerToken(plan: ModelPlan): number {
  return attentionBlocks(plan).reduce((sum, { kvHeads, keySize, valueSize }) => {
    return sum + 4 * kvHeads * (keySize + valueSize);
  }, 0);
}

/** Allocates all state of a model. Nothing else allocates what a token writes. */
export function allocateState(gpu: Gpu, plan: ModelPlan, { context, chunk, tile }: StateSizes): State {
  const storage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
  const floats = (label: string, perToken: number, tokens = chunk) =>
    gpu.buffer(label, 4 * perToken * tokens, storage);
  const attentions = attentionBlocks(plan);
  const sites = moeSites(plan);
  const most = <T>(items: readonly T[], size: (item: T) => number) => Math.max(1, ...items.map(size));
  const heads = most(attentions, (a) => a.heads * a.keySize);
  const experts = most(sites, (site) => site.experts);
  const routes = most(sites, (site) => maxRoutes(site.router, site.experts));
  const hidden = most(sites, (site) => hiddenSize(site));
  const caches = new Map<AttentionBlock, CacheState>();
  const ropes = new Map<RopeSpec, GPUBuffer>();
  for (const block of attentions) {
    const { kvHeads, keySize, valueSize, rope } = block;
    caches.set(block, {
      keys: floats("keys", kvHeads * keySize, context),
      values: floats("values", kvHeads * valueSize, context),
    });
    if (rope && !ropes.has(rope)) {
      const table = floats("rope", rope.rotary, context);
      gpu.upload(table, 0, ropeTable(context, rope).buffer as ArrayBuffer);
      ropes.set(rope, table);
    }
  }
  return {
    tokens: gpu.buffer("tokens", 4 * (context + 1), storage),
    fault: gpu.buffer("fault", 4, storage),
    x: floats("x", plan.width),
    normed: floats("normed", plan.width),
    qkv: floats(
      "qkv",
      most(attentions, (a) => (a.heads + a.kvHeads) * a.keySize + a.kvHeads * a.valueSize),
    ),
    q: floats("q", heads),
    attended: floats("attended", heads),
    routerLogits: floats("router logits", experts),
    routes: gpu.buffer("routes", ROUTE_BYTES * chunk * routes, storage),
    counts: floats("route counts", 1),
    tiles: gpu.buffer("tiles", TILE_BYTES * maxTiles(chunk, routes, experts, tile), storage),
    pairs: floats("pairs", routes),
    hidden: floats("hidden", routes * hidden),
    expertRows: floats("expert rows", routes * plan.width),
    logits: gpu.buffer("logits", 4 * align(plan.vocabulary, 4), storage),
    caches,
    ropes,
  };
}

function attentionBlocks(plan: ModelPlan): AttentionBlock[] {
  return plan.layers.flatMap(({ blocks }) => blocks.filter((block) => block.kind === "attention"));
}

/** MoE sites in the order they run. */
export function moeSites(plan: ModelPlan): MoeSpec[] {
  return plan.layers.flatMap(({ blocks }) =>
    blocks.flatMap((block) => (block.kind === "feed-forward" && block.moe ? [block.moe] : [])),
  );
}

function hiddenSize({ table }: MoeSpec): number {
  return Math.max(...table.map(({ spec }) => ("up" in spec ? (spec.up.weight.shape.at(-2) ?? 1) : 1)));
}
