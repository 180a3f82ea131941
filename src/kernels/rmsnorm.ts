import source from "../../shaders/rmsnorm.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import { makeStep, reduction, type Stoppable } from "./step.ts";

/** A vector of f32 inside a GPU buffer. */
export interface VectorPiece {
  readonly buffer: GPUBuffer;
  /** First 16-byte vector. */
  readonly base: number;
  readonly length: number;
}

export interface RmsnormArgs extends Stoppable {
  /** LayerNorm takes the mean off first; RMSNorm, if absent, does not. */
  readonly kind?: "rms" | "layer" | undefined;
  /** [cols] */
  readonly weight: VectorPiece;
  /** [cols], added to what is normalised and weighted. */
  readonly bias?: VectorPiece | undefined;
  readonly epsilon: number;
  /** [tokens, cols] f32 */
  readonly x: GPUBuffer;
  /** [tokens, cols] f32 */
  readonly y: GPUBuffer;
  /** Normalise only row `params.row` of x, into row 0 of y. */
  readonly head?: boolean;
  /** Add to y rather than replace it. */
  readonly add?: boolean;
  /** Multiplies what is added; 1 if absent. */
  readonly scale?: number | undefined;
}

/** y (+)= x · weight / rms(x) + bias, row by row; of a LayerNorm x is x less its mean. */
export function rmsnorm(gpu: Gpu, args: RmsnormArgs): Step {
  const { kind = "rms", weight, bias, epsilon, x, y, head = false, add = false, scale = 1, fault } = args;
  const { lanes, snippet, enable } = reduction(gpu, 64);
  return makeStep(gpu, {
    label: "rmsnorm",
    source,
    enable,
    constants: {
      LANES: lanes,
      SHARED: 1,
      LAYER: kind === "layer",
      COLS: weight.length,
      BASE: weight.base,
      BIASED: bias !== undefined,
      BIAS_BASE: bias?.base ?? 0,
      EPSILON: { f32: epsilon },
      HEAD: head,
      ADD: add,
      SCALE: { f32: scale },
    },
    snippets: [snippet],
    // A binding that is not read needs a buffer too.
    buffers: { weights: weight.buffer, x, y, biases: bias?.buffer ?? x },
    fault,
    grid: (tokens) => [1, tokens],
  });
}
