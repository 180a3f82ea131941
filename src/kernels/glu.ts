import source from "../../shaders/glu.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import { makeStep, type Stoppable } from "./step.ts";

export interface GluArgs extends Stoppable {
  /** Of gate and up each. */
  readonly rows: number;
  /** The last column of `gu` is the logit of a gate over the whole token. */
  readonly gated: boolean;
  /** [tokens, 2 · rows (+ 1)] f32: gate, up, gate over the token */
  readonly gu: GPUBuffer;
  /** [tokens, rows] f32 */
  readonly h: GPUBuffer;
}

const LANES = 64;

/** h = silu(gate) · up, and where gated · sigmoid(logit). */
export function glu(gpu: Gpu, { rows, gated, gu, h, fault }: GluArgs): Step {
  return makeStep(gpu, {
    label: "glu",
    source,
    constants: { LANES, ROWS: rows, GATED: gated },
    buffers: { gu, h },
    fault,
    grid: (tokens) => [Math.ceil(rows / LANES), tokens],
  });
}
