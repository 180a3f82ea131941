import dot32 from "../../shaders/lib/dot32.wgsl?raw";
import epilogueActivation from "../../shaders/lib/epilogue_activation.wgsl?raw";
import epilogueAdd from "../../shaders/lib/epilogue_add.wgsl?raw";
import epilogueSoftcap from "../../shaders/lib/epilogue_softcap.wgsl?raw";
import epilogueStore from "../../shaders/lib/epilogue_store.wgsl?raw";
import safeTanh from "../../shaders/lib/safe_tanh.wgsl?raw";
import splitsOne from "../../shaders/lib/splits_one.wgsl?raw";
import splitsWorkgroup from "../../shaders/lib/splits_workgroup.wgsl?raw";
import source from "../../shaders/matmul.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import { activationCode, type Pointwise } from "./activation.ts";
import { dequantOf, type MatrixPiece, stackCode, stacksOf } from "./matrix.ts";
import { makeStep, type Stoppable } from "./step.ts";

export interface MatmulArgs extends Stoppable {
  /** Stacked in this order: their rows are consecutive columns of `y`. All have the same `cols`. */
  readonly matrices: readonly MatrixPiece[];
  /** [tokens rounded up to `tile`, cols] f32 */
  readonly x: GPUBuffer;
  /** [tokens, Σ rows] f32 */
  readonly y: GPUBuffer;
  /** Tokens a lane computes side by side; 1 for decode. */
  readonly tile: number;
  /** Add to what `y` holds. Not with `softcap`. */
  readonly add?: boolean;
  /** Scales of the matrices multiply their biases too. */
  readonly scalesBias?: boolean | undefined;
  /** Multiplies all of it. */
  readonly scale?: number;
  /** What is stored is cap · tanh(y / cap), after all scales. */
  readonly softcap?: number | undefined;
  /** What is stored is a function of y, after all scales. Not with `add` or `softcap`. */
  readonly activation?: Pointwise | undefined;
}

const LANES = 64;

/** y = x·Wᵀ: one step for each buffer and weight type among the matrices. */
export function matmul(gpu: Gpu, args: MatmulArgs): Step[] {
  const { matrices, x, y, tile, scalesBias = false, scale = 1, softcap, fault } = args;
  const outCols = matrices.reduce((sum, { rows }) => sum + rows, 0);
  // One token is too little work for wide hardware with a lane per row: share rows there.
  const splits = tile > 1 || gpu.software ? 1 : 4;
  const rowLanes = LANES / splits;
  return stacksOf(matrices).map(({ stack, buffer, type, rows, cols }) =>
    makeStep(gpu, {
      label: "matmul",
      source,
      constants: {
        LANES,
        ROW_LANES: rowLanes,
        SPLITS: splits,
        TILE: tile,
        UNROLL: !gpu.software,
        ROWS: rows,
        COLS: cols,
        OUT_COLS: outCols,
        SCALES_BIAS: scalesBias,
        FINISH_SCALE: { f32: scale },
        ...(softcap !== undefined && { SOFTCAP: { f32: softcap } }),
      },
      snippets: [
        ...dequantOf([type]),
        dot32,
        stackCode(stack, type, cols),
        splits === 1 ? splitsOne : splitsWorkgroup,
        ...epilogueOf(args),
      ],
      buffers: { weights: buffer, x, y },
      fault,
      grid: (tokens) => [Math.ceil(rows / 2 / rowLanes), Math.ceil(tokens / tile)],
    }),
  );
}

function epilogueOf({ softcap, activation, add = false }: MatmulArgs): readonly string[] {
  if (softcap !== undefined) return [safeTanh, epilogueSoftcap];
  if (activation) return [...activationCode({ activation }).snippets, epilogueActivation];
  return [add ? epilogueAdd : epilogueStore];
}
