import source from "../../shaders/latent_kv.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import type { HeadVectors } from "./head_matmul.ts";
import type { VectorPiece } from "./rmsnorm.ts";
import { makeStep, reduction, type Stoppable } from "./step.ts";

export interface LatentKvArgs extends Stoppable {
  readonly heads: number;
  /** Elements of a query or key that are rotated, even. */
  readonly rotary: number;
  /** Pairs are neighbours rather than halves. */
  readonly interleaved: boolean;
  /** RMSNorm weights of the latent, [rank]. */
  readonly norm: VectorPiece;
  readonly epsilon: number;
  /** The latent and behind it the key's rotary part: one vector of rank + rotary for all heads. */
  readonly kv: Omit<HeadVectors, "each">;
  /** The rotary part of each head's query. */
  readonly q: HeadVectors;
  /** [context, rotary / 2] pairs of f32: cos and sin, times the rope's magnitude */
  readonly table: GPUBuffer;
  /** [tokens, heads, rank + rotary] f32, of which the last `rotary` elements of each head are written */
  readonly queries: GPUBuffer;
  /** [context, rank + rotary] f32 */
  readonly cache: GPUBuffer;
}

/** Pairs of query elements that a workgroup rotates. */
const SPAN = 256;

/** Normalises the latent, rotates key and queries, and stores latent and key in the cache. */
export function latent_kv(gpu: Gpu, args: LatentKvArgs): Step {
  const { lanes, snippet, enable } = reduction(gpu, 64);
  const { heads, rotary, norm, kv, q, table, queries, cache } = args;
  const pairs = rotary / 2;
  return makeStep(gpu, {
    label: "latent_kv",
    source,
    enable,
    constants: {
      ...{ LANES: lanes, SHARED: 1, SPAN, HEADS: heads, RANK: norm.length, PAIRS: pairs },
      ...{ KV_ROW: kv.row, KV_FIRST: kv.first ?? 0 },
      ...{ Q_ROW: q.row, Q_EACH: q.each, Q_FIRST: q.first ?? 0 },
      ...{ BASE: norm.base, EPSILON: { f32: args.epsilon }, INTERLEAVED: args.interleaved },
    },
    snippets: [snippet],
    buffers: { weights: norm.buffer, kv: kv.buffer, q: q.buffer, table, queries, cache },
    fault: args.fault,
    grid: (tokens) => [1 + Math.ceil((heads * pairs) / SPAN), tokens],
  });
}
