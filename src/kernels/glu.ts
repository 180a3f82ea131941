import source from "../../shaders/glu.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import { type ActivationArgs, activationCode } from "./activation.ts";
import { makeStep, type Stoppable } from "./step.ts";

export interface GluArgs extends Stoppable, ActivationArgs {
  /** Of gate and up each, or of the one matrix there is. */
  readonly rows: number;
  /** The last column of `gu` is the logit of a gate over the whole token. */
  readonly gated: boolean;
  /** One matrix, not two: h = activation(gu). Not for activations that clamp. */
  readonly single?: boolean | undefined;
  /** [tokens, 2 · rows (+ 1)] f32: gate, up, gate over the token; rows (+ 1) where `single` */
  readonly gu: GPUBuffer;
  /** [tokens, rows] f32 */
  readonly h: GPUBuffer;
}

const LANES = 64;

/** h = activation(gate, up), plainly silu(gate) · up, and where gated · sigmoid(logit). */
export function glu(gpu: Gpu, args: GluArgs): Step {
  const { rows, gated, single = false, gu, h, fault } = args;
  const activation = activationCode(args);
  return makeStep(gpu, {
    label: "glu",
    source,
    constants: { LANES, ROWS: rows, GATED: gated, SINGLE: single, ...activation.constants },
    snippets: activation.snippets,
    buffers: { gu, h },
    fault,
    grid: (tokens) => [Math.ceil(rows / LANES), tokens],
  });
}
