import source from "../../shaders/expert_down.wgsl?raw";
import dot32 from "../../shaders/lib/dot32.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import { expertStep, type PairArgs, type PoolSegment } from "./expert.ts";
import { dequantOf, type PageMatrix, pageMatrixCode } from "./matrix.ts";
import { makeStep } from "./step.ts";

export interface ExpertDownArgs extends PairArgs {
  readonly segment: PoolSegment;
  readonly pageBytes: number;
  /** [rows, cols] */
  readonly down: PageMatrix;
  /** [tokens · topK, cols] f32 */
  readonly hidden: GPUBuffer;
  /** [tokens · topK, rows] f32 */
  readonly rows: GPUBuffer;
}

/** rows = (down·hidden) · scale + bias for the pairs whose expert lies in one segment of the pool. */
export function expert_down(gpu: Gpu, args: ExpertDownArgs): Step {
  const { segment, pageBytes, down, hidden, rows } = args;
  const shared = expertStep(gpu, segment, pageBytes, down.rows, down.cols, 2, args);
  return makeStep(gpu, {
    label: "expert_down",
    source,
    constants: shared.constants,
    snippets: [...dequantOf([down.type]), dot32, pageMatrixCode("down", down), ...shared.snippets],
    buffers: { ...shared.buffers, x: hidden, rows },
    fault: args.fault,
    grid: shared.grid,
  });
}
