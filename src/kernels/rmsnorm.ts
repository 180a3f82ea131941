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
  /** [cols] */
  readonly weight: VectorPiece;
  readonly epsilon: number;
  /** [tokens, cols] f32 */
  readonly x: GPUBuffer;
  /** [tokens, cols] f32 */
  readonly y: GPUBuffer;
  /** Normalise only row `params.row` of x, into row 0 of y. */
  readonly head?: boolean;
}

/** y = x · weight / rms(x), row by row. */
export function rmsnorm(gpu: Gpu, args: RmsnormArgs): Step {
  const { weight, epsilon, x, y, head = false, fault } = args;
  const { lanes, snippet, enable } = reduction(gpu, 64);
  return makeStep(gpu, {
    label: "rmsnorm",
    source,
    enable,
    constants: {
      LANES: lanes,
      SHARED: 1,
      COLS: weight.length,
      BASE: weight.base,
      EPSILON: { f32: epsilon },
      HEAD: head,
    },
    snippets: [snippet],
    buffers: { weights: weight.buffer, x, y },
    fault,
    grid: (tokens) => [1, tokens],
  });
}
