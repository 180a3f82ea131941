import source from "../../shaders/head_matmul_transposed.wgsl?raw";
import splitsOne from "../../shaders/lib/splits_one.wgsl?raw";
import splitsWorkgroup from "../../shaders/lib/splits_workgroup.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import { type HeadMatmulArgs, headsOf } from "./head_matmul.ts";
import { dequantOf, stackCode, stacksOf } from "./matrix.ts";
import { makeStep } from "./step.ts";

const LANES = 64;
/** Columns of a group. */
const GROUP = 32;
/** Tokens of a lane, which needs 32 sums for each. */
const MOST_TOKENS = 2;

/** y = W[head]ᵀ · x for every head: `rows` are elements of x here, cols those of y. */
export function head_matmul_transposed(gpu: Gpu, args: HeadMatmulArgs): Step[] {
  const { matrices, rows: headRows, x, y, fault } = args;
  const tile = Math.min(args.tile, MOST_TOKENS);
  const splits = tile > 1 || gpu.software ? 1 : 4;
  const rowLanes = LANES / splits;
  return stacksOf(matrices).map(({ stack, buffer, type, cols }) => {
    const { heads, constants } = headsOf(stack, args);
    const blocks = Math.ceil(cols / GROUP / rowLanes);
    return makeStep(gpu, {
      label: "head_matmul_transposed",
      source,
      constants: {
        ...{ LANES, ROW_LANES: rowLanes, SPLITS: splits, TILE: tile, UNROLL: !gpu.software },
        ...{ ROWS: headRows, COLS: cols },
        ...constants,
      },
      snippets: [
        ...dequantOf([type]),
        stackCode(stack, type, cols),
        splits === 1 ? splitsOne : splitsWorkgroup,
      ],
      buffers: { weights: buffer, x: x.buffer, y: y.buffer },
      fault,
      grid: (tokens) => [heads * blocks, Math.ceil(tokens / tile)],
    });
  });
}
