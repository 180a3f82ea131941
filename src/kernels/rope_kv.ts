import source from "../../shaders/rope_kv.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import type { VectorPiece } from "./rmsnorm.ts";
import { makeStep, reduction, type Stoppable } from "./step.ts";

/**
 * RMSNorm weights, [headSize] of each head or, where there is more than one head, [heads · headSize] of all heads as
 * one; "plain" normalises each head without weights.
 */
export type HeadNorm = VectorPiece | "plain";

export interface RopeKvArgs extends Stoppable {
  readonly heads: number;
  readonly kvHeads: number;
  /** Elements of a head of q and k, a multiple of 4. */
  readonly headSize: number;
  /** Elements of a head of v; those of k if absent. */
  readonly valueSize?: number | undefined;
  /** Floats from one q head to the next; headSize if absent. */
  readonly qStep?: number | undefined;
  /** First float of the k heads, and of the v heads, of a token; behind q, and behind k, if absent. */
  readonly kAt?: number | undefined;
  readonly vAt?: number | undefined;
  /** Floats of a token in qkv; as many as end with v if absent. */
  readonly columns?: number | undefined;
  /** q, k and v are first of all limited to ±clamp. */
  readonly clamp?: number | undefined;
  /** Leading elements of a head that are rotated, even; 0 for none. */
  readonly rotary: number;
  /** Pairs are neighbours rather than halves. */
  readonly interleaved: boolean;
  /** Positions the cache has room for. */
  readonly context: number;
  /** Weights of both are in the same buffer where both have them. */
  readonly normQ?: HeadNorm | undefined;
  readonly normK?: HeadNorm | undefined;
  readonly epsilon: number;
  /** What is rotated is normalised, rather than the other way round. */
  readonly normsAfterRope?: boolean | undefined;
  /**
   * q is last of all multiplied by 1 + scale · ln(⌊(position + offset) / length⌋ + 1); length and offset are whole
   * (Llama 4, arXiv 2501.19399).
   */
  readonly temperature?:
    | { readonly scale: number; readonly length: number; readonly offset: number }
    | undefined;
  /** [tokens, columns] f32: q heads, k heads, v heads */
  readonly qkv: GPUBuffer;
  /** [context, rotary / 2] pairs of f32: cos and sin, times the rope's magnitude. Only where something is rotated */
  readonly table?: GPUBuffer | undefined;
  /** [tokens, heads, headSize] f32 */
  readonly q: GPUBuffer;
  /** [kvHeads, headSize / 4, context, 4] f32 */
  readonly keys: GPUBuffer;
  /** [kvHeads, context, valueSize] f32 */
  readonly values: GPUBuffer;
}

/** Normalises and rotates q and k, and stores k and v in the cache. */
export function rope_kv(gpu: Gpu, args: RopeKvArgs): Step {
  const { lanes, snippet, enable } = reduction(gpu, 32);
  const { heads, kvHeads, headSize, valueSize = headSize, qStep = headSize, clamp, temperature } = args;
  const { kAt = heads * qStep, vAt = kAt + kvHeads * headSize, columns = vAt + kvHeads * valueSize } = args;
  const { normQ, normK, qkv, q, keys, values } = args;
  const [weightQ, weightK] = [weightOf(normQ), weightOf(normK)];
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
      VALUE: valueSize,
      COLUMNS: columns,
      Q_STEP: qStep,
      K_AT: kAt,
      V_AT: vAt,
      CLAMPED: clamp !== undefined,
      CLAMP: { f32: clamp ?? 0 },
      ROTARY: args.rotary,
      INTERLEAVED: args.interleaved,
      CONTEXT: args.context,
      NORM_Q: normQ !== undefined,
      NORM_K: normK !== undefined,
      NORMS_AFTER: args.normsAfterRope ?? false,
      WEIGHTED_Q: weightQ !== undefined,
      WEIGHTED_K: weightK !== undefined,
      WHOLE_Q: weightQ !== undefined && weightQ.length > headSize,
      WHOLE_K: weightK !== undefined && weightK.length > headSize,
      BASE_Q: weightQ?.base ?? 0,
      BASE_K: weightK?.base ?? 0,
      EPSILON: { f32: args.epsilon },
      TEMPERED: temperature !== undefined,
      TEMPERATURE: { f32: temperature?.scale ?? 0 },
      LENGTH: temperature?.length ?? 1,
      OFFSET: temperature?.offset ?? 0,
    },
    snippets: [snippet],
    buffers: { weights: (weightQ ?? weightK)?.buffer ?? table, qkv, table, q, keys, values },
    fault: args.fault,
    grid: (tokens) => [heads + 2 * kvHeads, tokens],
  });
}

function weightOf(norm: HeadNorm | undefined): VectorPiece | undefined {
  return norm === "plain" ? undefined : norm;
}
