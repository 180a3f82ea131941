import source from "../../shaders/combine.wgsl?raw";
import routeSet from "../../shaders/lib/route_set.wgsl?raw";
import sumFromBias from "../../shaders/lib/sum_from_bias.wgsl?raw";
import sumFromZero from "../../shaders/lib/sum_from_zero.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { BoundBuffer } from "../gpu/pipelines.ts";
import type { Step } from "../gpu/program.ts";
import { outputsCode, type PagelessExperts } from "./pageless.ts";
import type { VectorPiece } from "./rmsnorm.ts";
import { makeStep, type Stoppable } from "./step.ts";

export interface CombineArgs extends Stoppable {
  readonly cols: number;
  readonly topK: number;
  /** Multiplies the sum. */
  readonly scale?: number;
  /** False where routes weighed the experts' inputs. */
  readonly weighted?: boolean | undefined;
  /** [cols], times a scale of its own part of the sum, once a token. */
  readonly bias?: { readonly vector: VectorPiece; readonly scale: number } | undefined;
  /** Experts that have no row. Not without weights, nor beside a bias. */
  readonly pageless?: PagelessExperts | undefined;
  /** Write `x`, whatever it holds, rather than add to it. */
  readonly store?: boolean | undefined;
  /** [tokens · topK, cols] f32 */
  readonly rows: GPUBuffer;
  readonly routes: BoundBuffer;
  readonly counts: GPUBuffer;
  /** [tokens, cols] f32: the residual stream, added to; or where `store`, written */
  readonly x: GPUBuffer;
}

const LANES = 64;

/** x += scale · (bias + Σ weight · expert output), in the order of the RouteSet. */
export function combine(gpu: Gpu, args: CombineArgs): Step {
  const {
    cols,
    topK,
    scale = 1,
    weighted = true,
    store = false,
    bias,
    rows,
    routes,
    counts,
    x,
    fault,
  } = args;
  const outputs = outputsCode(args.pageless);
  return makeStep(gpu, {
    label: "combine",
    source,
    constants: {
      LANES,
      COLS: cols,
      ROUTES: topK,
      SCALE: { f32: scale },
      WEIGHTED: weighted,
      STORE: store,
      ...(bias && { BIAS: bias.vector.base, BIAS_SCALE: { f32: bias.scale } }),
      ...outputs.constants,
    },
    snippets: [routeSet, bias ? sumFromBias : sumFromZero, ...outputs.snippets],
    buffers: { rows, routes, counts, x, ...(bias && { biases: bias.vector.buffer }), ...outputs.buffers },
    fault,
    grid: (tokens) => [Math.ceil(cols / 4 / LANES), tokens],
  });
}
