import source from "../../shaders/attention.wgsl?raw";
import safeTanh from "../../shaders/lib/safe_tanh.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import type { VectorPiece } from "./rmsnorm.ts";
import { makeStep, reduction, type Stoppable } from "./step.ts";

/** Which of the positions up to its own a query sees. */
export interface AttentionWindow {
  readonly tokens: number;
  /** The last `tokens` positions, its own included, or those since the last multiple of `tokens`. */
  readonly kind: "sliding" | "chunk";
}

export interface AttentionArgs extends Stoppable {
  readonly heads: number;
  readonly kvHeads: number;
  /** Sets of heads, one behind the other, that share all kv heads; 1 if absent. Not with `sinks`. */
  readonly sets?: number | undefined;
  /** Of q and keys, a multiple of 4. */
  readonly headSize: number;
  /** Of values and out, a multiple of 4; that of the keys if absent. */
  readonly valueSize?: number | undefined;
  readonly context: number;
  /** What q·k is multiplied with before the cap and the softmax. */
  readonly scale: number;
  /** Scores become cap · tanh(score / cap). */
  readonly softcap?: number | undefined;
  /** All positions if absent. */
  readonly window?: AttentionWindow | undefined;
  /** [heads]: a score for each head, neither scaled nor capped, that the softmax counts and that has no value. */
  readonly sinks?: VectorPiece | undefined;
  /** Tokens whose queries share one walk over the cache; 1 for decode. */
  readonly tile: number;
  /** [tokens, heads, headSize] f32 */
  readonly q: GPUBuffer;
  /** As `rope_kv` writes them. */
  readonly keys: GPUBuffer;
  readonly values: GPUBuffer;
  /** [tokens, heads, valueSize] f32 */
  readonly out: GPUBuffer;
}

/** Causal grouped-query attention over the cache, which holds the replay's own tokens already. */
export function attention(gpu: Gpu, args: AttentionArgs): Step {
  const { lanes, snippet, enable } = reduction(gpu, 32);
  const { heads, kvHeads, headSize, valueSize = headSize, tile, q, keys, values, out } = args;
  const { softcap, window, sinks, sets = 1 } = args;
  const group = heads / kvHeads;
  return makeStep(gpu, {
    label: "attention",
    source,
    enable,
    constants: {
      LANES: lanes,
      SHARED: tile * group,
      KV_HEADS: kvHeads,
      GROUP: group,
      SETS: sets,
      HEAD: headSize,
      VALUE: valueSize,
      CONTEXT: args.context,
      SCALE: { f32: args.scale },
      CAPPED: softcap !== undefined,
      CAP: { f32: softcap ?? 1 },
      SLIDING: window?.kind === "sliding",
      CHUNKED: window?.kind === "chunk",
      WINDOW: window?.tokens ?? 1,
      SINKS: sinks !== undefined,
      SINK_BASE: sinks?.base ?? 0,
      TILE: tile,
      UNROLL: !gpu.software,
    },
    snippets: [snippet, safeTanh],
    // A binding that is not read needs a buffer too.
    buffers: { q, keys, values, out, sinks: sinks?.buffer ?? q },
    fault: args.fault,
    grid: (tokens) => [kvHeads, Math.ceil(tokens / tile)],
  });
}
