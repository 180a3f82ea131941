import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import { attention } from "../kernels/attention.ts";
import { combine } from "../kernels/combine.ts";
import { embed } from "../kernels/embed.ts";
import { expert_down } from "../kernels/expert_down.ts";
import { expert_gate_up } from "../kernels/expert_gate_up.ts";
import { group } from "../kernels/group.ts";
import { matmul } from "../kernels/matmul.ts";
import { rmsnorm } from "../kernels/rmsnorm.ts";
import { rope_kv } from "../kernels/rope_kv.ts";
import { route } from "../kernels/route.ts";
import { sample } from "../kernels/sample.ts";
import {
  type AttentionBlock,
  type FeedForwardBlock,
  type ModelPlan,
  maxRoutes,
  type NormSpec,
} from "./plan.ts";
import type { CacheState, State, StateSizes } from "./state.ts";
import type { SiteWeights, Weights } from "./weights.ts";

/** Steps built once and replayed for every token. */
export interface Programs {
  /** A chunk of prompt tokens through all layers. */
  readonly prefill: readonly Step[];
  /** One token through all layers, then its logits and the next token. */
  readonly decode: readonly Step[];
  /** Logits of row `params.row`. */
  readonly logits: readonly Step[];
  /** The same, and the next token. */
  readonly head: readonly Step[];
}

/** The model, told once: embed, for each layer attend and feed forward, then logits and the next token. */
export function buildPrograms(
  gpu: Gpu,
  plan: ModelPlan,
  weights: Weights,
  state: State,
  sizes: StateSizes,
): Programs {
  const prefill: Step[] = [];
  const decode: Step[] = [];
  const build: Build = { gpu, weights, state, sizes };
  for (const [program, tile] of [[prefill, sizes.tile] as const, [decode, 1] as const]) {
    const table = weights.matrix(plan.embedding);
    program.push(...embed(gpu, { table, tokens: state.tokens, x: state.x, scale: plan.embeddingScale }));
    let site = 0;
    for (const { blocks } of plan.layers) {
      for (const block of blocks) {
        if (block.kind === "attention") program.push(...attend(build, block, tile));
        else if (block.kind === "feed-forward") {
          program.push(...feedForward(build, block, weights.sites[site] as SiteWeights, tile));
          site += block.moe ? 1 : 0;
        }
      }
    }
  }
  const { x, normed, logits, tokens } = state;
  const toLogits = [
    rmsnorm(gpu, { ...normArgs(weights, plan.finalNorm), x, y: normed, head: true }),
    ...matmul(gpu, { matrices: weights.matrix(plan.output), x: normed, y: logits, tile: 1 }),
  ];
  const head = [...toLogits, sample(gpu, { vocabulary: plan.vocabulary, logits, tokens })];
  return { prefill, decode: [...decode, ...head], logits: toLogits, head };
}

interface Build {
  readonly gpu: Gpu;
  readonly weights: Weights;
  readonly state: State;
  readonly sizes: StateSizes;
}

/** x += Wo · attention(rope(Wq·n), cache), n = norm(x) */
function attend({ gpu, weights, state, sizes }: Build, block: AttentionBlock, tile: number): Step[] {
  const { heads, kvHeads, keySize: headSize, norm, qNorm, kNorm, rope } = block;
  const { x, normed, qkv, q, attended } = state;
  const { keys, values } = state.caches.get(block) as CacheState;
  const context = sizes.context;
  if (!rope) throw new Error("attention without positions passed requireRunnable");
  return [
    rmsnorm(gpu, { ...normArgs(weights, norm), x, y: normed }),
    ...matmul(gpu, {
      matrices: [block.q, block.k, block.v].flatMap((w) => weights.matrix(w)),
      x: normed,
      y: qkv,
      tile,
    }),

    // Rotated keys and plain values go to the cache before any query looks at it.
    rope_kv(gpu, {
      ...{ heads, kvHeads, headSize, context, qkv, q, keys, values },
      rotary: rope.rotary,
      interleaved: rope.interleaved,
      normQ: qNorm && weights.vector(qNorm.weight.name),
      normK: kNorm && weights.vector(kNorm.weight.name),
      epsilon: (qNorm ?? norm).epsilon,
      table: state.ropes.get(rope) as GPUBuffer,
    }),
    attention(gpu, {
      ...{ heads, kvHeads, headSize, context, q, keys, values, out: attended },
      scale: block.scale,
      tile: Math.max(1, Math.floor((tile * kvHeads) / heads)),
    }),

    ...matmul(gpu, { matrices: weights.matrix(block.output), x: attended, y: x, tile, add: true }),
  ];
}

/** x += Σ weight · expert(n) over the token's RouteSet, n = norm(x) */
function feedForward(
  { gpu, weights, state, sizes }: Build,
  { norm, moe }: FeedForwardBlock,
  { pageBytes, segments, gate, up, down, pageTable }: SiteWeights,
  tile: number,
): Step[] {
  if (!moe) throw new Error("a dense layer passed requireRunnable");
  const { experts, router } = moe;
  const {
    x,
    normed,
    routerLogits: logits,
    routes,
    counts,
    fault,
    tiles,
    pairs,
    hidden,
    expertRows: rows,
  } = state;
  const topK = maxRoutes(router, experts);
  const grouped = tile > 1 ? { size: tile, tiles, pairs } : undefined;
  const pool = { pageBytes, topK, experts, routes, grouped };
  return [
    rmsnorm(gpu, { ...normArgs(weights, norm), x, y: normed }),

    // Router: logits, RouteSet, slots.
    ...matmul(gpu, {
      matrices: router.logits.layers.flatMap((w) => weights.matrix(w)),
      x: normed,
      y: logits,
      tile,
    }),
    route(gpu, {
      ...{ experts, topK, logits, pageTable, routes, counts, fault },
      renormalise: router.weights.rule === "renormalise",
      weightScale: router.weights.scale,
    }),

    // Experts: a prompt's pairs are grouped so that an expert's weights are read once for several tokens.
    ...(grouped
      ? [group(gpu, { experts, topK, tile, maxTokens: sizes.chunk, routes, counts, tiles, pairs })]
      : []),
    ...segments.map((segment) => expert_gate_up(gpu, { ...pool, segment, gate, up, x: normed, hidden })),
    ...segments.map((segment) => expert_down(gpu, { ...pool, segment, down, hidden, rows })),
    combine(gpu, { cols: norm.weight.shape.at(-1) ?? 0, topK, rows, routes, counts, x }),
  ];
}

function normArgs(weights: Weights, { weight, epsilon }: NormSpec) {
  return { weight: weights.vector(weight.name), epsilon };
}
