import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import { attention } from "../kernels/attention.ts";
import { combine } from "../kernels/combine.ts";
import { embed } from "../kernels/embed.ts";
import { expert_down } from "../kernels/expert_down.ts";
import { expert_gate_up } from "../kernels/expert_gate_up.ts";
import { glu } from "../kernels/glu.ts";
import { group } from "../kernels/group.ts";
import { matmul } from "../kernels/matmul.ts";
import { rmsnorm } from "../kernels/rmsnorm.ts";
import { rope_kv } from "../kernels/rope_kv.ts";
import { route } from "../kernels/route.ts";
import { sample } from "../kernels/sample.ts";
import { type NextGates, nextGates } from "./next_gates.ts";
import {
  type AttentionBlock,
  type FeedForwardBlock,
  type ModelPlan,
  maxRoutes,
  type NormSpec,
} from "./plan.ts";
import { type CacheState, routeStride, type State, type StateSizes } from "./state.ts";
import type { SiteWeights, Weights } from "./weights.ts";

/** Steps built once and replayed for every token. */
export interface Program {
  readonly steps: readonly Step[];
  /** For each MoE site, in order. */
  readonly sites: readonly SiteSteps[];
}

/** Where in a program a site resolves its routes, and where it adds up what its experts gave. */
export interface SiteSteps {
  readonly route: number;
  readonly combine: number;
}

export interface Programs {
  /** Run once, when the dense weights are there. */
  readonly setup: readonly Step[];
  /** A chunk of prompt tokens through all layers. */
  readonly prefill: Program;
  /** One token through all layers, then its logits and the next token. */
  readonly decode: Program;
  /** Logits of row `params.row`. */
  readonly logits: readonly Step[];
  /** The same, and the next token. */
  readonly head: readonly Step[];
  /** Run behind a head: the residual stream begins anew with the token drawn. */
  readonly next: readonly Step[];
  /** Asks routers early, with the input of the site a program stopped at or, behind `next`, with the next token. */
  readonly ask: readonly Step[];
}

/** The model, told once: embed, for each layer attend and feed forward, then logits and the next token. */
export function buildPrograms(
  gpu: Gpu,
  plan: ModelPlan,
  weights: Weights,
  state: State,
  sizes: StateSizes,
): Programs {
  const gates = nextGates(gpu, plan, weights, state, sizes);
  const build: Build = { gpu, plan, weights, state, gates, isTraced: sizes.isTraced };
  const { x, normed, logits, tokens, fault } = state;
  const embedding = { table: weights.matrix(plan.embedding), tokens, x, scale: plan.embeddingScale, fault };
  const layers = (chunk: number, tile: number): Program => {
    const steps = embed(gpu, embedding);
    const sites: SiteSteps[] = [];
    for (const { blocks } of plan.layers) {
      for (const block of blocks) {
        if (block.kind === "attention") steps.push(...attend(build, block, sizes.context, tile));
        else if (block.kind === "feed-forward") {
          const { before, experts, after } = feedForward(build, block, sites.length, chunk, tile);
          const route = steps.push(...before);
          const combine = steps.push(...experts);
          steps.push(...after);
          if (block.moe) sites.push({ route, combine });
        }
      }
    }
    return { steps, sites };
  };
  const toLogits = [
    rmsnorm(gpu, { ...normArgs(weights, plan.finalNorm), x, y: normed, head: true, fault }),
    ...matmul(gpu, {
      ...{ matrices: weights.matrix(plan.output), x: normed, y: logits, scale: plan.outputScale },
      ...{ tile: 1, fault },
    }),
  ];
  const head = [...toLogits, sample(gpu, { vocabulary: plan.vocabulary, logits, tokens, fault })];
  const decode = layers(1, 1);
  const ask = gates.at("fault", 0);
  return {
    setup: gates.setup,
    prefill: layers(sizes.chunk, sizes.tile),
    decode: { ...decode, steps: [...decode.steps, ...head] },
    logits: toLogits,
    head,
    next: ask.length > 0 ? embed(gpu, { ...embedding, next: true }) : [],
    ask,
  };
}

interface Build {
  readonly gpu: Gpu;
  readonly plan: ModelPlan;
  readonly weights: Weights;
  readonly state: State;
  readonly gates: NextGates;
  readonly isTraced: boolean;
}

/** x += Wo · attention(rope(Wq·n), cache), n = norm(x) */
function attend(
  { gpu, plan, weights, state }: Build,
  block: AttentionBlock,
  context: number,
  tile: number,
): Step[] {
  const { heads, kvHeads, keySize: headSize, norm, qNorm, kNorm, rope } = block;
  const { x, normed, qkv, q, attended, fault } = state;
  const { keys, values } = state.caches.get(block) as CacheState;
  return [
    rmsnorm(gpu, { ...normArgs(weights, norm), x, y: normed, fault }),
    ...matmul(gpu, {
      matrices: [block.q, block.k, block.v].flatMap((w) => weights.matrix(w)),
      x: normed,
      y: qkv,
      tile,
      fault,
    }),

    // Rotated keys and plain values go to the cache before any query looks at it.
    rope_kv(gpu, {
      ...{ heads, kvHeads, headSize, context, qkv, q, keys, values, fault },
      rotary: rope?.rotary ?? 0,
      interleaved: rope?.interleaved ?? false,
      normQ: qNorm && weights.vector(qNorm.weight.name),
      normK: kNorm && weights.vector(kNorm.weight.name),
      epsilon: (qNorm ?? norm).epsilon,
      table: rope && state.ropes.get(rope),
    }),
    attention(gpu, {
      ...{ heads, kvHeads, headSize, context, q, keys, values, out: attended, fault },
      scale: block.scale,
      tile: Math.max(1, Math.floor((tile * kvHeads) / heads)),
    }),

    ...matmul(gpu, {
      ...{ matrices: weights.matrix(block.output), x: attended, y: x, add: true },
      ...{ scale: plan.residualScale, tile, fault },
    }),
  ];
}

/**
 * x += Σ weight · expert(n) over the token's RouteSet, x += base(n), n = norm(x), or only the one or the other. A stop
 * resumes with `experts`, where n is as it was.
 */
function feedForward(
  build: Build,
  block: FeedForwardBlock,
  site: number,
  chunk: number,
  tile: number,
): { before: Step[]; experts: Step[]; after: Step[] } {
  const { gpu, plan, weights, state, gates, isTraced } = build;
  const { norm, moe } = block;
  const after = always(build, block, tile);
  if (!moe) {
    const { x, normed, fault } = state;
    return {
      before: [rmsnorm(gpu, { ...normArgs(weights, norm), x, y: normed, fault })],
      experts: [],
      after,
    };
  }
  const { pageBytes, segments, gate, up, down, pageTable } = weights.sites[site] as SiteWeights;
  const { experts, router } = moe;
  const { x, normed, routerLogits: logits, counts, fault, tiles, pairs, hidden, expertRows: rows } = state;
  const topK = maxRoutes(router, experts);
  const stride = routeStride(plan, chunk);
  const routes = { buffer: state.routes, offset: site * stride, size: stride };
  const grouped = tile > 1 ? { size: tile, tiles, pairs } : undefined;
  const pool = { pageBytes, topK, experts, routes, grouped, fault };
  return {
    // The router's logits outlive a stop.
    before: [
      rmsnorm(gpu, { ...normArgs(weights, norm), x, y: normed, fault }),
      ...matmul(gpu, {
        matrices: router.logits.layers.flatMap((w) => weights.matrix(w)),
        x: normed,
        y: logits,
        tile,
        fault,
      }),
      ...(isTraced && chunk === 1 ? gates.at(site, 1 + site) : []),
    ],

    // RouteSet and slots. A prompt's pairs are grouped so that an expert's weights are read once for several tokens.
    experts: [
      route(gpu, {
        ...{ experts, topK, logits, pageTable, routes, counts, fault },
        renormalise: router.weights.rule === "renormalise",
        weightScale: router.weights.scale,
        selectionBias: router.logits.selectionBias && weights.vector(router.logits.selectionBias.name),
      }),
      ...(grouped
        ? [group(gpu, { experts, topK, tile, maxTokens: chunk, routes, counts, tiles, pairs, fault })]
        : []),
      ...segments.map((segment) => expert_gate_up(gpu, { ...pool, segment, gate, up, x: normed, hidden })),
      ...segments.map((segment) => expert_down(gpu, { ...pool, segment, down, hidden, rows })),
    ],

    after: [
      combine(gpu, {
        ...{ cols: norm.weight.shape.at(-1) ?? 0, topK, rows, routes, counts, x, fault },
        scale: plan.residualScale,
      }),
      ...after,
    ],
  };
}

/** x += base(n), what every token goes through: down · (silu(gate · n) ⊙ (up · n)) · sigmoid(its own gate · n). */
function always({ gpu, plan, weights, state }: Build, { base }: FeedForwardBlock, tile: number): Step[] {
  if (base?.expert.kind !== "gated") return [];
  const { gate, up, down } = base.expert;
  const { x, normed, gateUp, hidden, fault } = state;
  const linears = [gate, up, ...(base.gate ? [base.gate] : [])];
  return [
    ...matmul(gpu, {
      ...{ matrices: linears.flatMap((w) => weights.matrix(w)), x: normed, y: gateUp },
      ...{ scalesBias: up.scalesBias, tile, fault },
    }),
    glu(gpu, {
      ...{ rows: up.weight.shape.at(-2) ?? 0, gated: base.gate !== undefined },
      ...{ gu: gateUp, h: hidden, fault },
    }),
    ...matmul(gpu, {
      ...{ matrices: weights.matrix(down), x: hidden, y: x, add: true },
      ...{ scalesBias: down.scalesBias, scale: plan.residualScale, tile, fault },
    }),
  ];
}

function normArgs(weights: Weights, { weight, epsilon }: NormSpec) {
  return { weight: weights.vector(weight.name), epsilon };
}
