import type { Gpu } from "../gpu/gpu.ts";
import { maxTiles, TILE_BYTES } from "../kernels/group.ts";
import { gateBytes } from "../kernels/pack_gate.ts";
import { ROUTE_BYTES } from "../kernels/route.ts";
import { align } from "../quant/layout.ts";
import type { PagePlan } from "../quant/page.ts";
import { type Kept, mixerOf, type Scratch } from "./blocks/mixer.ts";
import { keyWeights } from "./blocks/product_key.ts";
import {
  cellSize,
  constantExperts,
  type ExpertSpec,
  type MoeSpec,
  maxRoutes,
  type RouterSpec,
} from "./moe_plan.ts";
import {
  allBlocks,
  carriesLogits,
  type ExpertAttentionBlock,
  type FeedForwardBlock,
  type MixerBlock,
  type ModelPlan,
  type RopeSpec,
  recurrentCells,
  ropeSpecs,
  seriesOf,
  tokenReader,
} from "./plan.ts";
import { ropeTable } from "./rope.ts";
import { asksRequests, requestStride } from "./route_request.ts";

/** No adapter wants bindings to start at more than this; see `minStorageBufferOffsetAlignment`. */
const BINDING_ALIGNMENT_BYTES = 256;

/** Sizes the state and the programs are built for. */
export interface StateSizes {
  /** Positions of the cache. */
  readonly context: number;
  /** Tokens of a prefill replay. */
  readonly chunk: number;
  /** Tokens a lane computes side by side in prefill; `chunk` is a multiple of it. */
  readonly tile: number;
  /** Sites past the one in hand whose routers are asked early; 0 asks none. */
  readonly lookahead: number;
  /** Routers are asked early at every site, not only where the program stops. */
  readonly isTraced: boolean;
}

/** The folded routers of `sites` sites from `firstSite` on. */
export interface GateRange {
  readonly gates: GPUBuffer;
  readonly firstSite: number;
  readonly sites: number;
}

/** Everything the programs write: activations of one chunk, the cache, the sequence. */
export interface State {
  /** [context + 1] u32: the sequence; the sampler appends to it. Of a series [context + 1, size] f32. */
  readonly tokens: GPUBuffer;
  /** [1] u32: lowest site that missed an expert, or ABSENT. */
  readonly fault: GPUBuffer;
  /** [chunk, width] residual stream. */
  readonly x: GPUBuffer;
  /** [chunk, width] normalised. */
  readonly normed: GPUBuffer;
  /** [chunk, width] what a block gives, where a norm comes behind it. */
  readonly branch: GPUBuffer;
  /** Of the block in hand, see `Scratch`. */
  readonly projected: GPUBuffer;
  readonly queries: GPUBuffer;
  readonly attended: GPUBuffer;
  readonly routerLogits: GPUBuffer;
  /** The same for every second site, where a site reads the logits of the one before, or has its own by then. */
  readonly otherLogits?: GPUBuffer | undefined;
  /** [chunk, size of the state] what routers' cells carry from site to site, and the zeros that come first. */
  readonly carried?: { readonly state: GPUBuffer; readonly zeros: GPUBuffer } | undefined;
  /** [chunk, size of a router's reader] as `x`, `normed` and `branch` are of the layers. */
  readonly tokenStream?: Pick<State, "x" | "normed" | "branch"> | undefined;
  /** Logits of the token's router, which outlive all sites. */
  readonly tokenLogits?: GPUBuffer | undefined;
  /** For each site what the request says of its routes, `requestStride` bytes apart; none where no router asks. */
  readonly request?: GPUBuffer | undefined;
  /** [chunk, width] of blocks with momentum. */
  readonly velocity?: GPUBuffer | undefined;
  /** [chunk, 2, heads, keys] of product keys, from a block with a router to the next; none where there are no such. */
  readonly keyWeights?: GPUBuffer | undefined;
  /** For each site [chunk, topK] Route, `routeStride` bytes apart. */
  readonly routes: GPUBuffer;
  readonly counts: GPUBuffer;
  readonly tiles: GPUBuffer;
  readonly pairs: GPUBuffer;
  /** Gate and up, stacked, of what is always on. */
  readonly gateUp: GPUBuffer;
  readonly hidden: GPUBuffer;
  readonly expertRows: GPUBuffer;
  /** [vocabulary] f32 */
  readonly logits: GPUBuffer;
  /** Logits of routers asked early, [lookahead, most experts] f32; where traced, for each site too, `guessStride` bytes apart. */
  readonly guesses: GPUBuffer;
  /** Routers folded with their norms, for asking early; none where nothing asks. */
  readonly gates: readonly GateRange[];
  /** What each block keeps from token to token, by its names for it. */
  readonly kept: ReadonlyMap<MixerBlock, Readonly<Record<string, GPUBuffer>>>;
  /** For each buffer of those that only the last position left something in: room for a copy. */
  readonly aside: ReadonlyMap<GPUBuffer, GPUBuffer>;
  /** One table for each rope in the plan. */
  readonly ropes: ReadonlyMap<RopeSpec, GPUBuffer>;
}

/** Bytes of what blocks keep from token to token, and of what is set aside of it. */
export function keptBytes(plan: ModelPlan, context: number): number {
  const kept = mixerBlocks(plan).flatMap((block) => Object.values(mixerOf(block).kept(block)));
  const copies = (each: Kept) => (each.of === "last position" ? 2 : 1);
  return kept.reduce((sum, each) => sum + 4 * copies(each) * keptFloats(each, context), 0);
}

/** Floats of its buffer. */
function keptFloats({ of, runs, floats }: Kept, context: number): number {
  return runs * floats * (of === "each position" ? context : 1);
}

/** Some block keeps only what the last position left. */
export function isRecurrent(plan: ModelPlan): boolean {
  return mixerBlocks(plan).some((block) =>
    Object.values(mixerOf(block).kept(block)).some((kept) => kept.of === "last position"),
  );
}

/** Allocates all state of a model. Nothing else allocates what a token writes. */
export function allocateState(gpu: Gpu, plan: ModelPlan, sizes: StateSizes): State {
  const { context, chunk, tile } = sizes;
  const storage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
  const floats = (label: string, perToken: number, tokens = chunk) =>
    gpu.buffer(label, 4 * perToken * tokens, storage);
  const mixers = mixerBlocks(plan);
  const sites = moeSites(plan);
  const most = <T>(items: readonly T[], size: (item: T) => number) => Math.max(1, ...items.map(size));
  const cells = recurrentCells(plan);
  const carried = Math.max(0, ...cells.map(cellSize));
  const inner = most(sites, ({ router }) => routerRows(router));
  const mixed = moeBlocks(plan).some(({ mix }) => mix) ? plan.width : 0;
  const products: Scratch = {
    projected: Math.max(
      ...[inner, 3 * carried, mixed, most(sites, taskLogits)],
      2 * most(sites, (site) => constantExperts(site).length),
    ),
    queries: Math.max(3 * carried, mixed > 0 ? 2 : 0),
    attended: Math.max(
      ...[carried, mixed],
      most(sites, ({ router }) => routerCols(router)),
    ),
  };
  const scratch = (of: keyof Scratch) =>
    Math.max(
      products[of] ?? 0,
      most(mixers, (block) => mixerOf(block).scratch(block)[of] ?? 0),
    );
  const blocks = moeBlocks(plan);
  const hasPostNorms =
    plan.layers.some(({ blocks }) => blocks.some(({ postNorm }) => postNorm)) ||
    blocks.some(({ momentum }) => momentum);
  const experts = mostExperts(plan);
  const reader = tokenReader(plan);
  const readerSize = reader?.table.weight.shape.at(-1) ?? 0;
  const keys = most(mixers, (block) => (block.kind === "product-key" ? keyWeights(block) : 0));
  const routes = most(sites, (site) => maxRoutes(site.router, site.experts));
  const bases = allBlocks(plan).flatMap((block) =>
    block.kind === "feed-forward" && block.base ? [block.base] : [],
  );
  const base = most(bases, ({ expert }) => rowsUp(expert));
  const hidden = Math.max(base, routes * most(sites, hiddenSize));
  const kept = new Map<MixerBlock, Record<string, GPUBuffer>>();
  const aside = new Map<GPUBuffer, GPUBuffer>();
  for (const block of mixers) {
    const buffers = Object.entries(mixerOf(block).kept(block)).map(([name, each]) => {
      const buffer = floats(name, keptFloats(each, context), 1);
      if (each.of === "last position")
        aside.set(buffer, floats(`${name} aside`, keptFloats(each, context), 1));
      return [name, buffer] as const;
    });
    kept.set(block, Object.fromEntries(buffers));
  }
  const ropes = new Map(ropeSpecs(plan).map((rope) => [rope, floats("rope", rope.rotary, context)]));
  for (const [rope, table] of ropes) gpu.upload(table, 0, ropeTable(context, rope));
  return {
    tokens: gpu.buffer("tokens", 4 * (context + 1) * positionWords(plan), storage),
    fault: gpu.buffer("fault", 4, storage),
    x: floats("x", plan.width),
    normed: floats("normed", plan.width),
    branch: floats("branch", hasPostNorms ? plan.width : 1),
    projected: floats("projected", scratch("projected")),
    queries: floats("queries", scratch("queries")),
    attended: floats("attended", scratch("attended")),
    routerLogits: floats("router logits", experts),
    otherLogits:
      carriesLogits(plan) || sites.some(isFromBefore) ? floats("router logits", experts) : undefined,
    carried:
      carried > 0
        ? { state: floats("router state", carried), zeros: floats("router start", carried) }
        : undefined,
    tokenStream: reader && {
      x: floats("token stream", readerSize),
      normed: floats("token stream normed", readerSize),
      branch: floats("token stream branch", 1),
    },
    tokenLogits: sites.some(({ router }) => router.input === "token")
      ? floats("token's logits", experts)
      : undefined,
    request: asksRequests(plan)
      ? gpu.buffer("route request", sites.length * requestStride(plan), storage)
      : undefined,
    velocity: blocks.some(({ momentum }) => momentum) ? floats("velocity", plan.width) : undefined,
    keyWeights: keys > 1 ? floats("key weights", keys) : undefined,
    routes: gpu.buffer("routes", sites.length * routeStride(plan, chunk), storage),
    counts: floats("route counts", 1),
    tiles: gpu.buffer("tiles", TILE_BYTES * maxTiles(chunk, routes, experts, tile), storage),
    pairs: floats("pairs", routes),
    gateUp: floats("gate and up", 2 * base + 1),
    hidden: floats("hidden", hidden),
    expertRows: floats("expert rows", Math.max(routes * plan.width, scratch("given"))),
    logits: gpu.buffer("logits", 4 * align(plan.vocabulary, 4), storage),
    guesses: gpu.buffer("guesses", guessSources(plan, sizes) * guessStride(plan, sizes), storage),
    gates: sizes.lookahead > 0 ? allocateGates(gpu, plan) : [],
    kept,
    aside,
    ropes,
  };
}

/** Words of the sequence that a position takes: a token's id, or the numbers of a point. */
export function positionWords(plan: ModelPlan): number {
  return seriesOf(plan)?.embedding.size ?? 1;
}

/** Where a site's logits are. They outlive the site if the next one reads them, and begin before it if they are known by then. */
export function logitsOf({ routerLogits, otherLogits = routerLogits }: State, site: number): GPUBuffer {
  return site % 2 === 0 ? routerLogits : otherLogits;
}

/** Copies what only the last position left, or copies it back. */
export function copyAside(gpu: Gpu, { aside }: State, way: "there" | "back"): void {
  const encoder = gpu.device.createCommandEncoder();
  for (const [kept, copy] of aside) {
    const [from, to] = way === "there" ? [kept, copy] : [copy, kept];
    encoder.copyBufferToBuffer(from, 0, to, 0, from.size);
  }
  gpu.submit(encoder);
}

/** Makes the tables of ropes anew whose factors a page brings. */
export function scaleRopes(
  gpu: Gpu,
  { ropes }: State,
  context: number,
  page: PagePlan,
  bytes: ArrayBuffer,
): void {
  for (const [rope, table] of ropes) {
    const { longFactors } = rope;
    const tensor = longFactors && context > longFactors.above ? longFactors.tensor : rope.factors;
    const part = page.parts.find(({ tensor: name }) => name === tensor?.name);
    if (!part) continue;
    const factors = new Float32Array(bytes, part.offset, part.cols);
    const frequencies = rope.frequencies.map((frequency, i) => frequency / (factors[i] as number));
    gpu.upload(table, 0, ropeTable(context, { ...rope, frequencies }));
  }
}

/** Bytes from one site's routes to the next when `tokens` tokens are replayed together. */
export function routeStride(plan: ModelPlan, tokens: number): number {
  const routes = Math.max(1, ...moeSites(plan).map(({ router, experts }) => maxRoutes(router, experts)));
  return align(ROUTE_BYTES * routes * tokens, BINDING_ALIGNMENT_BYTES);
}

/** In as many buffers as the binding limit asks for; none if it holds no router. */
function allocateGates(gpu: Gpu, plan: ModelPlan): GateRange[] {
  const siteBytes = gateBytes(mostExperts(plan), plan.width);
  const sitesEach = Math.floor(gpu.maxBindingBytes / siteBytes);
  const count = sitesEach > 0 ? moeSites(plan).length : 0;
  return Array.from({ length: Math.ceil(count / sitesEach) || 0 }, (_, i) => {
    const firstSite = i * sitesEach;
    const sites = Math.min(sitesEach, count - firstSite);
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST;
    return { gates: gpu.buffer("next gates", sites * siteBytes, usage), firstSite, sites };
  });
}

/** Bytes from one source's guesses to the next. */
export function guessStride(plan: ModelPlan, { lookahead }: StateSizes): number {
  return align(4 * lookahead * mostExperts(plan), BINDING_ALIGNMENT_BYTES);
}

/** Whose inputs routers are asked early with: where the program stopped and, traced, each site. */
export function guessSources(plan: ModelPlan, { isTraced }: StateSizes): number {
  return isTraced ? 1 + moeSites(plan).length : 1;
}

export function mostExperts(plan: ModelPlan): number {
  return Math.max(1, ...moeSites(plan).map(({ experts }) => experts));
}

export function mixerBlocks(plan: ModelPlan): MixerBlock[] {
  return allBlocks(plan).filter((block) => block.kind !== "feed-forward");
}

/** MoE sites in the order they run. */
export function moeSites(plan: ModelPlan): MoeSpec[] {
  return moeBlocks(plan).map(({ moe }) => moe);
}

/** The blocks of MoE sites in the order they run. */
export function moeBlocks(plan: ModelPlan): ((
  | FeedForwardBlock
  | (ExpertAttentionBlock & { readonly momentum?: undefined; readonly mix?: undefined })
) & {
  readonly moe: MoeSpec;
})[] {
  return plan.layers.flatMap(({ blocks }) =>
    blocks.flatMap((block) => ("moe" in block && block.moe ? [{ ...block, moe: block.moe }] : [])),
  );
}

/** Of a router of two layers, or of one and cosines, what lies between them; of trees, what their nodes and leaves give. */
function routerRows({ logits: { layers, between, tree, cosine } }: RouterSpec): number {
  if (tree) return layers.reduce((sum, { weight }) => sum + (weight.shape.at(-2) ?? 0), 0);
  return typeof between === "string" || cosine ? (layers[0]?.weight.shape.at(-2) ?? 0) : 0;
}

/** Its logits are there while the site before runs. */
function isFromBefore({ router }: MoeSpec): boolean {
  return router.input === "previous-layer";
}

/** Logits of all tasks, where each has a matrix of its own. */
function taskLogits({ router: { tasks }, experts }: MoeSpec): number {
  return tasks && !tasks.embedding ? tasks.count * experts : 0;
}

/** What a router reads that is put together for it alone. */
function routerCols({ tasks, logits: { layers } }: RouterSpec): number {
  return tasks?.embedding ? (layers[0]?.weight.shape.at(-1) ?? 0) : 0;
}

function hiddenSize({ table }: MoeSpec): number {
  return Math.max(...table.map(({ spec }) => rowsUp(spec)));
}

function rowsUp(spec: ExpertSpec): number {
  const first = "up" in spec ? spec.up : "q" in spec ? spec.q : undefined;
  return first?.weight.shape.at(-2) ?? 1;
}
