import source from "../../shaders/product_key_sum.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import { mixedRow, type ProductKeyShape } from "./product_key_mix.ts";
import type { VectorPiece } from "./rmsnorm.ts";
import { makeStep, type Stoppable } from "./step.ts";

export interface ProductKeySumArgs extends Omit<ProductKeyShape, "heads">, Stoppable {
  readonly cols: number;
  /** Of each axis that has second matrices, [keys, cols] or both [keys, cols / 2]; both lie in one buffer. */
  readonly biases: readonly VectorPiece[];
  /** [tokens, cols] f32, or vertically [tokens, 2 halves, 2, cols / 2]: what the second matrices gave */
  readonly products: GPUBuffer;
  /** [tokens, row] f32, as `mixedRow` has it */
  readonly mixed: GPUBuffer;
  /** [tokens, cols] f32 */
  readonly y: GPUBuffer;
  /** Add to what `y` holds. */
  readonly add: boolean;
  /** Multiplies all of it. */
  readonly scale: number;
}

const LANES = 64;

/** y (+)= scale · (what the second matrices gave + the keys' biases, each as often as its key counts). */
export function product_key_sum(gpu: Gpu, args: ProductKeySumArgs): Step {
  const { cols, keys, biases, products, mixed, y, add, scale, fault } = args;
  const { sources, sumsAt, row } = mixedRow(args);
  const [first, second = first] = biases as readonly [VectorPiece, VectorPiece?];
  return makeStep(gpu, {
    label: "product_key_sum",
    source,
    constants: {
      ...{ LANES, COLS: cols, HALVES: sources, PARTS: sources, KEYS: keys, ROW: row, SUMS: sumsAt },
      ...{ BIAS_1: first.base, BIAS_2: second.base, STORE: !add, SCALE: { f32: scale } },
    },
    buffers: { products, mixed, biases: first.buffer, y },
    fault,
    grid: (tokens) => [Math.ceil(cols / LANES), tokens],
  });
}
