import source from "../../shaders/embed.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import { dequantOf, type MatrixPiece, stackCode, stacksOf } from "./matrix.ts";
import { makeStep, type Stoppable } from "./step.ts";

export interface EmbedArgs extends Stoppable {
  /** The table's row pieces, in order. */
  readonly table: readonly MatrixPiece[];
  /** [context + 1] u32 */
  readonly tokens: GPUBuffer;
  /** [tokens, cols] f32 */
  readonly x: GPUBuffer;
  readonly scale: number;
  /** Embed only the token that a head has just drawn, `tokens[position + row + 1]`, into row 0 of x. */
  readonly next?: boolean;
  /** The table's rows are positions: add them to x. */
  readonly positions?: boolean;
}

const LANES = 64;

/** x[t] = scale · table[tokens[position + t]], or x[t] += scale · table[position + t]: one step for each buffer that holds rows of the table. */
export function embed(gpu: Gpu, args: EmbedArgs): Step[] {
  const { table, tokens, x, scale, next = false, positions = false, fault } = args;
  let firstRow = 0;
  return stacksOf(table).map(({ stack, buffer, type, rows, cols }) => {
    const constants = {
      LANES,
      FIRST_ROW: firstRow,
      ROWS: rows,
      COLS: cols,
      EMBED_SCALE: { f32: scale },
      NEXT: next,
      BY_POSITION: positions,
      ADD: positions,
    };
    firstRow += rows;
    return makeStep(gpu, {
      label: "embed",
      source,
      constants,
      snippets: [...dequantOf([type]), stackCode(stack, type, cols)],
      buffers: { weights: buffer, tokens, x },
      fault,
      grid: (count) => [Math.ceil(cols / 32 / LANES), next ? 1 : count],
    });
  });
}
