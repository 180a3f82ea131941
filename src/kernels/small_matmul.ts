import source from "../../shaders/small_matmul.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import type { VectorPiece } from "./rmsnorm.ts";
import { makeStep, type Stoppable } from "./step.ts";

export interface SmallMatmulArgs extends Stoppable {
  /** [rows, cols], row after row. */
  readonly matrix: VectorPiece;
  readonly cols: number;
  /** Add to what `y` holds. */
  readonly add?: boolean;
  /** [tokens, cols] f32 */
  readonly x: GPUBuffer;
  /** [tokens, rows] f32 */
  readonly y: GPUBuffer;
}

const LANES = 64;

/** y = x·Wᵀ for a matrix of any size, as plain floats: those whose rows `matmul` cannot read. */
export function small_matmul(gpu: Gpu, { matrix, cols, add = false, x, y, fault }: SmallMatmulArgs): Step {
  const rows = matrix.length / cols;
  return makeStep(gpu, {
    label: "small_matmul",
    source,
    constants: { LANES, ROWS: rows, COLS: cols, BASE: matrix.base, ADD: add },
    buffers: { weights: matrix.buffer, x, y },
    fault,
    grid: (tokens) => [Math.ceil(rows / LANES), tokens],
  });
}
