import inputWeightOne from "../../shaders/lib/input_weight_one.wgsl?raw";
import inputWeightRoute from "../../shaders/lib/input_weight_route.wgsl?raw";
import inputWeightScale from "../../shaders/lib/input_weight_scale.wgsl?raw";
import routeSet from "../../shaders/lib/route_set.wgsl?raw";
import routesGrouped from "../../shaders/lib/routes_grouped.wgsl?raw";
import tilesDirect from "../../shaders/lib/tiles_direct.wgsl?raw";
import tilesGrouped from "../../shaders/lib/tiles_grouped.wgsl?raw";
import type { Constants } from "../gpu/compose.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { BoundBuffer, BoundBuffers } from "../gpu/pipelines.ts";
import type { Grid } from "../gpu/program.ts";
import { maxTiles } from "./group.ts";
import { VECTOR_BYTES } from "./matrix.ts";
import type { Stoppable } from "./step.ts";

/** Slots `first` to `first + slots − 1` of a site's pool, in one buffer. */
export interface PoolSegment {
  readonly buffer: GPUBuffer;
  readonly first: number;
  readonly slots: number;
}

/** Which (token, choice) pairs an expert kernel runs over, and how they are cut into tiles. */
export interface PairArgs extends Stoppable {
  readonly topK: number;
  readonly experts: number;
  readonly routes: BoundBuffer;
  /** Pairs sorted by `group`, in tiles of `size`. Absent: each pair is a tile (decode). */
  readonly grouped?:
    | { readonly size: number; readonly tiles: GPUBuffer; readonly pairs: GPUBuffer }
    | undefined;
}

export const EXPERT_LANES = 64;

/** What the expert kernels share: one segment of the pool, the page stride, the tiles. */
export function expertStep(
  gpu: Gpu,
  segment: PoolSegment,
  pageBytes: number,
  rows: number,
  cols: number,
  rowsPerLane: number,
  { topK, experts, routes, grouped }: PairArgs,
): { constants: Constants; snippets: string[]; buffers: BoundBuffers; grid: Grid } {
  const tile = grouped?.size ?? 1;
  return {
    constants: {
      LANES: EXPERT_LANES,
      TILE: tile,
      UNROLL: !gpu.software,
      ROUTES: topK,
      ROWS: rows,
      COLS: cols,
      FIRST_SLOT: segment.first,
      SLOTS: segment.slots,
      PAGE_VECTORS: pageBytes / VECTOR_BYTES,
    },
    snippets: [routeSet, grouped ? tilesGrouped : tilesDirect],
    buffers: {
      weights: segment.buffer,
      ...(grouped ? { tiles: grouped.tiles, pairs: grouped.pairs } : { routes }),
    },
    grid: (tokens) => [
      Math.ceil(rows / rowsPerLane / EXPERT_LANES),
      grouped ? maxTiles(tokens, topK, experts, tile) : tokens * topK,
    ],
  };
}

/** What an expert's input is multiplied by; one of them, or nothing. */
export interface InputWeight {
  /** A route's weight multiplies its expert's input; `combine` is then told not to weigh. */
  readonly weightsFirst?: boolean | undefined;
  readonly inputScale?: number | undefined;
}

/** WGSL `input_weighted`, which multiplies the products of the input. */
export function inputWeight({
  weightsFirst = false,
  inputScale,
  grouped,
}: Pick<PairArgs, "grouped"> & InputWeight): string[] {
  if (weightsFirst) return [inputWeightRoute, ...(grouped ? [routesGrouped] : [])];
  return [inputScale === undefined ? inputWeightOne : inputWeightScale];
}

export function inputConstants({ inputScale }: InputWeight): Constants {
  return inputScale === undefined ? {} : { INPUT_SCALE: { f32: inputScale } };
}
