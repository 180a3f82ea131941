import source from "../../shaders/product_key_mix.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import { makeStep, type Stoppable } from "./step.ts";

/** Sizes of product-key experts: each is a pair of keys, one of each axis. */
export interface ProductKeyShape {
  readonly heads: number;
  /** Of each axis. */
  readonly keys: number;
  /** Hidden elements that belong to a key of one first matrix. */
  readonly units: number;
  /**
   * Horizontal: a pair's first matrix is that of its first key, its second matrix and bias those of its second key.
   * Vertical: either half of what a pair gives is of one key, and reads the units of both.
   */
  readonly decompose: "horizontal" | "vertical";
}

export interface ProductKeyMixArgs extends ProductKeyShape, Stoppable {
  /** [tokens, 2, heads, keys] f32 */
  readonly weights: GPUBuffer;
  /** [tokens, 1 or 2, keys, units] f32: what the first matrices gave, through the activation */
  readonly hidden: GPUBuffer;
  /** [tokens, row] f32, as `mixedRow` has it */
  readonly mixed: GPUBuffer;
  /** Tokens come one by one, not by the chunk. */
  readonly single: boolean;
}

const LANES = 64;
/** Workgroups of a token where it is alone: more share the work, and all repeat its first part. */
const BLOCKS = 8;

/** Where in a row of `mixed` lie the inputs of the second matrices and, `sumsAt`, what their biases are multiplied with. */
export function mixedRow({ keys, units, decompose }: Omit<ProductKeyShape, "heads">) {
  const sources = decompose === "vertical" ? 2 : 1;
  const parts = sources ** 2;
  const sumsAt = parts * keys * units;
  return { sources, parts, sumsAt, row: Math.ceil((sumsAt + sources * keys) / 4) * 4 };
}

/** Weighs what keys gave by who asked for them, for all pairs of keys at once. */
export function product_key_mix(gpu: Gpu, args: ProductKeyMixArgs): Step {
  const { heads, keys, units, decompose, weights, hidden, mixed, single, fault } = args;
  const blocks = single && !gpu.software ? BLOCKS : 1;
  return makeStep(gpu, {
    label: "product_key_mix",
    source,
    constants: {
      ...{ LANES, BLOCKS: blocks, HEADS: heads, KEYS: keys, UNITS: units },
      ...{ VERTICAL: decompose === "vertical", ROW: mixedRow(args).row },
    },
    buffers: { weights, hidden, mixed },
    fault,
    grid: (tokens) => [blocks, tokens],
  });
}
