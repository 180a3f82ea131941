import source from "../../shaders/latent_attention.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import { makeStep, reduction, type Stoppable } from "./step.ts";

export interface LatentAttentionArgs extends Stoppable {
  readonly heads: number;
  /** Elements of the latent and of the rotated part behind it, multiples of 4. */
  readonly rank: number;
  readonly rotary: number;
  /** What q·k is multiplied with before the softmax. */
  readonly scale: number;
  /** Queries, heads of a token and then of the next, that share one walk over the cache. */
  readonly tile: number;
  /** [tokens, heads, rank + rotary] f32: the query of each head in the latent's space, and its rotated part */
  readonly queries: GPUBuffer;
  /** As `latent_kv` writes it. */
  readonly cache: GPUBuffer;
  /** [tokens, heads, rank] f32 */
  readonly out: GPUBuffer;
}

/** Causal attention over a cache of latents that all heads share, the replay's own tokens in it already. */
export function latent_attention(gpu: Gpu, args: LatentAttentionArgs): Step {
  const { lanes, snippet, enable } = reduction(gpu, 32);
  const { heads, rank, rotary, scale, tile, queries, cache, out } = args;
  return makeStep(gpu, {
    label: "latent_attention",
    source,
    enable,
    constants: {
      ...{ LANES: lanes, SHARED: tile, TILE: tile, HEADS: heads, RANK: rank, ROTARY: rotary },
      ...{ SCALE: { f32: scale }, UNROLL: !gpu.software },
    },
    snippets: [snippet],
    buffers: { queries, cache, out },
    fault: args.fault,
    grid: (tokens) => [Math.ceil((tokens * heads) / tile), 1],
  });
}
