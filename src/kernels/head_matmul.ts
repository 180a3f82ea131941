import source from "../../shaders/head_matmul.wgsl?raw";
import dot32 from "../../shaders/lib/dot32.wgsl?raw";
import splitsOne from "../../shaders/lib/splits_one.wgsl?raw";
import splitsWorkgroup from "../../shaders/lib/splits_workgroup.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import { dequantOf, type MatrixPiece, type StackedPiece, stackCode, stacksOf } from "./matrix.ts";
import { makeStep, type Stoppable } from "./step.ts";

/** A vector of each head of each token: element i of head h of token t at t · row + h · each + first + i. */
export interface HeadVectors {
  /** f32 */
  readonly buffer: GPUBuffer;
  readonly row: number;
  readonly each: number;
  /** 0 if absent. */
  readonly first?: number;
}

export interface HeadMatmulArgs extends Stoppable {
  /** The pieces of one matrix [heads · rows, cols], or of the one that `matrixRows` describes. */
  readonly matrices: readonly MatrixPiece[];
  /** Elements of a head in y; cols are those of a head in x. */
  readonly rows: number;
  /** Where a head has its rows in a matrix with others between: from h · each + first on. */
  readonly matrixRows?: { readonly each: number; readonly first: number } | undefined;
  /** Numbers that are multiples of 4; tokens rounded up to `tile`. */
  readonly x: HeadVectors;
  readonly y: HeadVectors;
  /** Tokens a lane computes side by side; 1 for decode. */
  readonly tile: number;
}

const LANES = 64;

/** Which heads a stack has rows of, and the constants that say where all of them lie. */
export function headsOf(stack: readonly StackedPiece[], { rows, matrixRows, x, y }: HeadMatmulArgs) {
  const { each, first } = matrixRows ?? { each: rows, first: 0 };
  // The pieces of one matrix in a buffer follow each other.
  const begin = stack[0]?.out ?? 0;
  const end = stack.reduce((sum, { piece }) => sum + piece.rows, begin);
  const firstHead = Math.floor(begin / each);
  const constants = {
    ...{ W_EACH: each, W_FIRST: first, BEGIN: begin, END: end, FIRST_HEAD: firstHead },
    ...{ X_ROW: x.row, X_EACH: x.each, X_FIRST: x.first ?? 0 },
    ...{ Y_ROW: y.row, Y_EACH: y.each, Y_FIRST: y.first ?? 0 },
  };
  return { heads: Math.ceil(end / each) - firstHead, constants };
}

/** y = W[head] · x for every head: one step for each buffer the matrix lies in. */
export function head_matmul(gpu: Gpu, args: HeadMatmulArgs): Step[] {
  const { matrices, rows: headRows, x, y, tile, fault } = args;
  // As in matmul.
  const splits = tile > 1 || gpu.software ? 1 : 4;
  const rowLanes = LANES / splits;
  const blocks = Math.ceil(headRows / 2 / rowLanes);
  return stacksOf(matrices).map(({ stack, buffer, type, cols }) => {
    const { heads, constants } = headsOf(stack, args);
    return makeStep(gpu, {
      label: "head_matmul",
      source,
      constants: {
        ...{ LANES, ROW_LANES: rowLanes, SPLITS: splits, TILE: tile, UNROLL: !gpu.software },
        ...{ ROWS: headRows, COLS: cols },
        ...constants,
      },
      snippets: [
        ...dequantOf([type]),
        dot32,
        stackCode(stack, type, cols),
        splits === 1 ? splitsOne : splitsWorkgroup,
      ],
      buffers: { weights: buffer, x: x.buffer, y: y.buffer },
      fault,
      grid: (tokens) => [heads * blocks, Math.ceil(tokens / tile)],
    });
  });
}
