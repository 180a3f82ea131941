import source from "../../shaders/rope_kv.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import type { VectorPiece } from "./rmsnorm.ts";
import { makeStep, reduction, type Stoppable } from "./step.ts";

export interface RopeKvArgs extends Stoppable {
  readonly heads: number;
  readonly kvHeads: number;
  /** Elements of a head, a multiple of 4. */
  readonly headSize: number;
  /** Leading elements of a head that are rotated, even; 0 for none. */
  readonly rotary: number;
  /** Pairs are neighbours rather than halves. */
  readonly interleaved: boolean;
  /** Positions the cache has room for. */
  readonly context: number;
  /**
   * RMSNorm weights, [headSize] of each head or, where there is more than one head, [heads · headSize] of all heads as
   * one; both in the same buffer where both are there.
   */
  readonly normQ?: VectorPiece | undefined;
  readonly normK?: VectorPiece | undefined;
  readonly epsilon: number;
  /** [tokens, (heads + 2 kvHeads) · headSize] f32: q heads, k heads, v heads */
  readonly qkv: GPUBuffer;
  /** [context, rotary / 2] pairs of f32: cos and sin, times the rope's magnitude. Only where something is rotated */
  readonly table?: GPUBuffer | undefined;
  /** [tokens, heads, headSize] f32 */
  readonly q: GPUBuffer;
  /** [kvHeads, headSize / 4, context, 4] f32 */
  readonly keys: GPUBuffer;
  /** [kvHeads, context, headSize] f32 */
  readonly values: GPUBuffer;
}

/** Normalises and rotates q and k, and stores k and v in the cache. */
export function rope_kv(gpu: Gpu, args: RopeKvArgs): Step {
  const { lanes, snippet, enable } = reduction(gpu, 32);
  const { heads, kvHeads, headSize, normQ, normK, qkv, q, keys, values } = args;
  // A binding that is not read needs a buffer too.
  const { table = qkv } = args;
  return makeStep(gpu, {
    label: "rope_kv",
    source,
    enable,
    constants: {
      LANES: lanes,
      SHARED: 1,
      HEADS: heads,
      KV_HEADS: kvHeads,
      HEAD: headSize,
      ROTARY: args.rotary,
      INTERLEAVED: args.interleaved,
      CONTEXT: args.context,
      NORM_Q: normQ !== undefined,
      NORM_K: normK !== undefined,
      WHOLE_Q: normQ !== undefined && normQ.length > headSize,
      WHOLE_K: normK !== undefined && normK.length > headSize,
      BASE_Q: normQ?.base ?? 0,
      BASE_K: normK?.base ?? 0,
      EPSILON: { f32: args.epsilon },
    },
    snippets: [snippet],
    buffers: { weights: (normQ ?? normK)?.buffer ?? table, qkv, table, q, keys, values },
    fault: args.fault,
    grid: (tokens) => [heads + 2 * kvHeads, tokens],
  });
}
