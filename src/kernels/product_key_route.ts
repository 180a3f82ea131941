import isNumber from "../../shaders/lib/is_number.wgsl?raw";
import source from "../../shaders/product_key_route.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import type { VectorPiece } from "./rmsnorm.ts";
import { makeStep, reduction, type Stoppable } from "./step.ts";

/** What batch normalisation has of an axis, [heads] each; those of both axes lie in one buffer. */
export interface KeyStatistics {
  readonly mean: VectorPiece;
  readonly variance: VectorPiece;
}

export interface ProductKeyRouteArgs extends Stoppable {
  readonly heads: number;
  /** Of each axis. */
  readonly keys: number;
  readonly statistics: readonly [first: KeyStatistics, second: KeyStatistics];
  readonly epsilon: number;
  /** Keys are kept whose score, normalised, is this or more; without any of those, the largest. May be infinite. */
  readonly least: number;
  /** [tokens, 2, heads, keys] f32 */
  readonly scores: GPUBuffer;
  /** The same, f32: what a key counts, 0 if it is not kept */
  readonly weights: GPUBuffer;
}

/** Beyond all scores that are numbers. */
const MOST = 3e38;

/** softmax over the raw scores of those keys of a row whose normalised score reaches a threshold. */
export function product_key_route(gpu: Gpu, args: ProductKeyRouteArgs): Step {
  const { heads, keys, statistics, epsilon, least, scores, weights, fault } = args;
  const [first, second] = statistics;
  const { lanes, snippet, enable } = reduction(gpu, 64);
  return makeStep(gpu, {
    label: "product_key_route",
    source,
    enable,
    constants: {
      ...{ LANES: lanes, SHARED: 1, HEADS: heads, KEYS: keys },
      ...{ MEAN_1: first.mean.base, VARIANCE_1: first.variance.base },
      ...{ MEAN_2: second.mean.base, VARIANCE_2: second.variance.base },
      EPSILON: { f32: epsilon },
      LEAST: { f32: Math.min(Math.max(least, -MOST), MOST) },
    },
    snippets: [snippet, isNumber],
    buffers: { scores, statistics: first.mean.buffer, weights },
    fault,
    grid: (tokens) => [2 * heads, tokens],
  });
}
