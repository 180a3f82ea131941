import routeSet from "../../shaders/lib/route_set.wgsl?raw";
import source from "../../shaders/stick_breaking_attention.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { BoundBuffer } from "../gpu/pipelines.ts";
import type { Step } from "../gpu/program.ts";
import { makeStep, reduction, type Stoppable } from "./step.ts";

export interface StickBreakingAttentionArgs extends Stoppable {
  /** Of each choice; all choices of a token share their keys and values. */
  readonly heads: number;
  /** A multiple of 4. */
  readonly headSize: number;
  readonly topK: number;
  readonly context: number;
  /** Multiplies q·k before the sigmoid. */
  readonly scale: number;
  /** Tokens whose queries share one walk over the cache; 1 for decode. */
  readonly tile: number;
  /** [tokens rounded up to `tile`, topK, heads, headSize] f32 */
  readonly q: GPUBuffer;
  /** As `rope_kv` writes them. */
  readonly keys: GPUBuffer;
  readonly values: GPUBuffer;
  /** [tokens, topK] Route: rows of those without a slot are left as they are */
  readonly routes: BoundBuffer;
  /** [tokens, topK, heads, headSize] f32 */
  readonly out: GPUBuffer;
}

const LANES = 32;
/** Floats of workgroup memory that every adapter has. */
const MOST_SHARED = 4096;

/** As many as have room for what each shares, and for its part in reductions. */
function lanesFor(shared: number): number {
  let lanes = LANES;
  while (lanes > 1 && lanes * (shared + 2) > MOST_SHARED) lanes /= 2;
  return lanes;
}

/** Causal attention that breaks a stick in place of the softmax, over the cache, which holds the replay's own tokens already. */
export function stick_breaking_attention(gpu: Gpu, args: StickBreakingAttentionArgs): Step {
  const { heads, headSize, topK, tile, q, keys, values, routes, out } = args;
  const shared = 2 * tile * topK;
  const { lanes, snippet, enable } = reduction(gpu, lanesFor(shared));
  return makeStep(gpu, {
    label: "stick_breaking_attention",
    source,
    enable,
    constants: {
      LANES: lanes,
      SHARED: shared,
      HEADS: heads,
      HEAD: headSize,
      ROUTES: topK,
      CONTEXT: args.context,
      SCALE: { f32: args.scale },
      TILE: tile,
      UNROLL: !gpu.software,
    },
    snippets: [snippet, routeSet],
    buffers: { q, keys, values, routes, out },
    fault: args.fault,
    grid: (tokens) => [heads, Math.ceil(tokens / tile)],
  });
}
