import source from "../../shaders/expert_gate_up.wgsl?raw";
import dot32 from "../../shaders/lib/dot32.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import { type ActivationArgs, activationCode } from "./activation.ts";
import {
  expertStep,
  type InputWeight,
  inputConstants,
  inputWeight,
  type PairArgs,
  type PoolSegment,
} from "./expert.ts";
import { dequantOf, type PageMatrix, pageMatrixCode } from "./matrix.ts";
import { makeStep } from "./step.ts";

export interface ExpertGateUpArgs extends PairArgs, ActivationArgs, InputWeight {
  readonly segment: PoolSegment;
  readonly pageBytes: number;
  /** Both [rows, cols]. */
  readonly gate: PageMatrix;
  readonly up: PageMatrix;
  /** [tokens, cols] f32 */
  readonly x: GPUBuffer;
  /** [tokens · topK, rows] f32 */
  readonly hidden: GPUBuffer;
}

/** hidden = activation(gate·x, up·x), plainly silu(gate·x) · (up·x), for pairs whose expert lies in one pool segment. */
export function expert_gate_up(gpu: Gpu, args: ExpertGateUpArgs): Step {
  const { segment, pageBytes, gate, up, x, hidden } = args;
  const activation = activationCode(args);
  const shared = expertStep(gpu, segment, pageBytes, gate.rows, gate.cols, 1, args);
  return makeStep(gpu, {
    label: "expert_gate_up",
    source,
    constants: { ...shared.constants, ...activation.constants, ...inputConstants(args) },
    snippets: [
      ...dequantOf([gate.type, up.type]),
      dot32,
      pageMatrixCode("gate", gate),
      pageMatrixCode("up", up),
      ...activation.snippets,
      ...shared.snippets,
      ...inputWeight(args),
    ],
    buffers: { ...shared.buffers, routes: args.routes, x, hidden },
    fault: args.fault,
    grid: shared.grid,
  });
}
