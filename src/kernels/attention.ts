import source from "../../shaders/attention.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import { makeStep, reduction, type Stoppable } from "./step.ts";

export interface AttentionArgs extends Stoppable {
  readonly heads: number;
  readonly kvHeads: number;
  /** A multiple of 4. */
  readonly headSize: number;
  readonly context: number;
  /** What q·k is multiplied with before the softmax. */
  readonly scale: number;
  /** Tokens whose queries share one walk over the cache; 1 for decode. */
  readonly tile: number;
  /** [tokens, heads, headSize] f32 */
  readonly q: GPUBuffer;
  /** As `rope_kv` writes them. */
  readonly keys: GPUBuffer;
  readonly values: GPUBuffer;
  /** [tokens, heads, headSize] f32 */
  readonly out: GPUBuffer;
}

/** Causal grouped-query attention over the cache, which holds the replay's own tokens already. */
export function attention(gpu: Gpu, args: AttentionArgs): Step {
  const { lanes, snippet, enable } = reduction(gpu, 32);
  const { heads, kvHeads, tile, q, keys, values, out } = args;
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
      HEAD: args.headSize,
      CONTEXT: args.context,
      SCALE: { f32: args.scale },
      TILE: tile,
      UNROLL: !gpu.software,
    },
    snippets: [snippet],
    buffers: { q, keys, values, out },
    fault: args.fault,
    grid: (tokens) => [kvHeads, Math.ceil(tokens / tile)],
  });
}
