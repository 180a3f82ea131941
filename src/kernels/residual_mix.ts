import source from "../../shaders/residual_mix.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import { makeStep, type Stoppable } from "./step.ts";

export interface ResidualMixArgs extends Stoppable {
  readonly cols: number;
  /** [tokens, 2] f32 */
  readonly z: GPUBuffer;
  /** [tokens, cols] f32 each */
  readonly a: GPUBuffer;
  readonly b: GPUBuffer;
  readonly y: GPUBuffer;
  /** Add to y rather than replace it. */
  readonly add: boolean;
  readonly scale: number;
}

const LANES = 64;

/** y (+)= scale · (p · a + (1 − p) · b), p = softmax(z)[0], token by token. */
export function residual_mix(gpu: Gpu, { cols, z, a, b, y, add, scale, fault }: ResidualMixArgs): Step {
  return makeStep(gpu, {
    label: "residual_mix",
    source,
    constants: { LANES, COLS: cols, ADD: add, SCALE: { f32: scale } },
    buffers: { z, a, b, y },
    fault,
    grid: (tokens) => [Math.ceil(cols / LANES), tokens],
  });
}
