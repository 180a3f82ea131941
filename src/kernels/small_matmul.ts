import source from "../../shaders/small_matmul.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import type { VectorPiece } from "./rmsnorm.ts";
import { makeStep, type Stoppable } from "./step.ts";

export interface SmallMatrix {
  /** [rows, cols], row after row. */
  readonly matrix: VectorPiece;
  /** [rows], in the same buffer. */
  readonly bias?: VectorPiece | undefined;
}

export interface SmallMatmulArgs extends Stoppable {
  /** Stacked in this order: their rows are consecutive columns of `y`. */
  readonly matrices: readonly SmallMatrix[];
  /** Of all of them. */
  readonly cols: number;
  /** Add to what `y` holds. */
  readonly add?: boolean;
  /** [tokens, cols] f32 */
  readonly x: GPUBuffer;
  /** [tokens, Σ rows] f32 */
  readonly y: GPUBuffer;
}

const LANES = 64;

/** y = x·Wᵀ + b for matrices of any size, as plain floats: those whose rows `matmul` cannot read. A step for each. */
export function small_matmul(gpu: Gpu, args: SmallMatmulArgs): Step[] {
  const { matrices, cols, add = false, x, y, fault } = args;
  const rowsOf = ({ matrix }: SmallMatrix) => matrix.length / cols;
  const outCols = matrices.reduce((sum, each) => sum + rowsOf(each), 0);
  return matrices.map((each, i) => {
    const { matrix, bias } = each;
    const rows = rowsOf(each);
    return makeStep(gpu, {
      label: "small_matmul",
      source,
      constants: {
        ...{ LANES, ROWS: rows, COLS: cols, BASE: matrix.base, ADD: add },
        ...{
          OUT_COLS: outCols,
          FIRST: matrices.slice(0, i).reduce((sum, before) => sum + rowsOf(before), 0),
        },
        ...{ BIASED: bias !== undefined, BIAS: bias?.base ?? 0 },
      },
      buffers: { weights: matrix.buffer, x, y },
      fault,
      grid: (tokens) => [Math.ceil(rows / LANES), tokens],
    });
  });
}
