import source from "../../shaders/momentum.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import { makeStep, type Stoppable } from "./step.ts";

export interface MomentumArgs extends Stoppable {
  /** A multiple of 4. */
  readonly cols: number;
  readonly factor: number;
  readonly step: number;
  /** The velocity was 0, whatever `velocity` holds. */
  readonly isStart: boolean;
  /** x − velocity goes to `branch`, and x stays. */
  readonly isPostNorm?: boolean | undefined;
  /** In place of x − velocity: −step · m / √(v + 10⁻⁸), m = (1 − mean) · branch, v = (1 − square) · branch². */
  readonly adam?: { readonly mean: number; readonly square: number; readonly step: number } | undefined;
  /** [tokens, cols] f32: what the block gives */
  readonly branch: GPUBuffer;
  /** [tokens, cols] f32, changed in place */
  readonly velocity: GPUBuffer;
  /** [tokens, cols] f32 */
  readonly x: GPUBuffer;
}

const LANES = 64;

/** velocity = factor · velocity + step · branch; x −= velocity. */
export function momentum(gpu: Gpu, args: MomentumArgs): Step {
  const { cols, factor, step, isStart, isPostNorm = false, adam, branch, velocity, x, fault } = args;
  return makeStep(gpu, {
    label: "momentum",
    source,
    constants: {
      LANES,
      COLS: cols,
      FACTOR: { f32: factor },
      STEP: { f32: step },
      START: isStart,
      POST: isPostNorm,
      ADAM: adam !== undefined,
      ADAM_STEP: { f32: adam?.step ?? 0 },
      // What is left of 1 is rounded, not what is taken from it.
      NEW_MEAN: { f32: 1 - (adam?.mean ?? 0) },
      NEW_SQUARE: { f32: 1 - (adam?.square ?? 0) },
    },
    buffers: { f: branch, p: velocity, x },
    fault,
    grid: (tokens) => [Math.ceil(cols / 4 / LANES), tokens],
  });
}
