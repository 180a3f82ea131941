import {
  argmax,
  attention,
  combine,
  embed,
  expertDown,
  expertGateUp,
  matmul,
  type Route,
  rmsnorm,
  rope,
  ropeTable,
  route,
} from "./index.ts";
import { type Config, readWeights, type Weights } from "./weights.ts";

/** A whole qwen3moe model in float64: what the engine's results are judged by. */
export interface Oracle {
  readonly config: Config;
  /** The logits of every position, [tokens, vocabulary]. */
  logits(tokens: readonly number[]): Float64Array;
  /** The chosen experts of every position, per layer. */
  routes(tokens: readonly number[]): Route[];
  /**
   * What the routers of later layers say early (Fate): `ahead[s][d - 1]` ranks the `count` likeliest experts of
   * layer s - 1 + d by the residual that layer s - 1 routes on, normed as layer s - 1 + d norms its own. s = 0 is the
   * embedding, which is known before the token runs. d ≤ `lookahead`, fewer near the last layer.
   */
  routesAhead(tokens: readonly number[], lookahead: number, count: number): Route[][];
  /** The `count` ids that follow `tokens` when the likeliest is taken each time. */
  greedy(tokens: readonly number[], count: number): number[];
  /** The `count` ids that follow `tokens` when `pick` takes one by the logits [vocabulary]. */
  generate(tokens: readonly number[], count: number, pick: (logits: Float64Array) => number): number[];
}

/** Reads a local GGUF file under Node. */
export async function loadOracle(path: string): Promise<Oracle> {
  const weights = await readWeights(path);
  return {
    config: weights.config,
    logits: (tokens) => forward(weights, emptyCache(weights), tokens).logits,
    routes: (tokens) => forward(weights, emptyCache(weights), tokens).routes,
    routesAhead: (tokens, lookahead, count) => routesAhead(weights, tokens, lookahead, count),
    greedy: (tokens, count) => generate(weights, tokens, count, argmax),
    generate: (tokens, count, pick) => generate(weights, tokens, count, pick),
  };
}

/** Keys (rotated) and values per layer, [positions, kvHeads, headDim]. */
type Cache = { keys: Float64Array; values: Float64Array }[];

const emptyCache = ({ layers }: Weights): Cache =>
  layers.map(() => ({ keys: new Float64Array(), values: new Float64Array() }));

/** One pass over `tokens`, which follow what is in the cache and are added to it. */
function forward(weights: Weights, cache: Cache, tokens: readonly number[]) {
  const { dim, heads, kvHeads, headDim, experts, topK, epsilon, rope: ropeOptions } = weights.config;
  const past = (cache[0]?.keys.length ?? 0) / (kvHeads * headDim);
  const positions = tokens.map((_, i) => past + i);
  const rotation = { ...ropeTable(ropeOptions), positions, variant: "neox" } as const;
  const routes: Route[] = [];

  let x = embed(weights.embedding.values, dim, tokens);
  /** The embedding, then what each layer routes on, before its norm. */
  const residuals = [x];
  for (const [n, layer] of weights.layers.entries()) {
    // Attention: queries and keys are normalised per head, then rotated to their positions.
    const a = rmsnorm(x, layer.attnNorm, epsilon);
    const q = rope(rmsnorm(matmul(a, layer.q), layer.qNorm, epsilon), { ...rotation, heads });
    const k = rope(rmsnorm(matmul(a, layer.k), layer.kNorm, epsilon), { ...rotation, heads: kvHeads });
    const { keys, values } = append(cache, n, k, matmul(a, layer.v));
    const scale = 1 / Math.sqrt(headDim);
    const mixed = attention(q, keys, values, { heads, kvHeads, positions, scale });
    x = matmul(mixed, layer.attnOutput, x);
    residuals.push(x);

    // Experts: each token goes through its top-k, weighted by the router.
    const f = rmsnorm(x, layer.ffnNorm, epsilon);
    const chosen = route(matmul(f, layer.router), { experts, topK, weightRule: "renorm" });
    const hidden = expertGateUp(f, layer.gate, layer.up, chosen.experts);
    x = combine(expertDown(hidden, layer.down, chosen.experts), chosen.weights, topK, x);
    routes.push(chosen);
  }
  return { logits: matmul(rmsnorm(x, weights.outputNorm, epsilon), weights.output), routes, residuals };
}

function routesAhead(weights: Weights, tokens: readonly number[], lookahead: number, count: number) {
  const { experts, epsilon } = weights.config;
  const { residuals } = forward(weights, emptyCache(weights), tokens);
  return residuals.map((x, s) =>
    weights.layers
      .slice(s, s + lookahead)
      .map(({ ffnNorm, router }) =>
        route(matmul(rmsnorm(x, ffnNorm, epsilon), router), { experts, topK: count, weightRule: "raw" }),
      ),
  );
}

function append(cache: Cache, layer: number, k: Float64Array, v: Float64Array): Cache[number] {
  const { keys, values } = cache[layer] as Cache[number];
  const longer = { keys: concat(keys, k), values: concat(values, v) };
  cache[layer] = longer;
  return longer;
}

function concat(a: Float64Array, b: Float64Array): Float64Array {
  const out = new Float64Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}

function generate(
  weights: Weights,
  tokens: readonly number[],
  count: number,
  pick: (logits: Float64Array) => number,
): number[] {
  const cache = emptyCache(weights);
  const ids: number[] = [];
  let input = tokens;
  while (ids.length < count) {
    const { logits } = forward(weights, cache, input);
    const next = pick(logits.subarray(-weights.config.vocabulary));
    ids.push(next);
    input = [next];
  }
  return ids;
}
