import source from "../../shaders/expert_up.wgsl?raw";
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

export interface ExpertUpArgs extends PairArgs, ActivationArgs, InputWeight {
  readonly segment: PoolSegment;
  readonly pageBytes: number;
  /** [rows, cols] */
  readonly up: PageMatrix;
  /** [tokens, cols] f32 */
  readonly x: GPUBuffer;
  /** [tokens · topK, rows] f32 */
  readonly hidden: GPUBuffer;
}

/** hidden = activation(up·x) for the pairs whose expert lies in one segment of the pool. */
export function expert_up(gpu: Gpu, args: ExpertUpArgs): Step {
  const { segment, pageBytes, up, x, hidden } = args;
  const activation = activationCode(args);
  const shared = expertStep(gpu, segment, pageBytes, up.rows, up.cols, 2, args);
  return makeStep(gpu, {
    label: "expert_up",
    source,
    constants: { ...shared.constants, ...activation.constants, ...inputConstants(args) },
    snippets: [
      ...dequantOf([up.type]),
      dot32,
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
