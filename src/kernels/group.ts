import source from "../../shaders/group.wgsl?raw";
import routeSet from "../../shaders/lib/route_set.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { BoundBuffer } from "../gpu/pipelines.ts";
import type { Step } from "../gpu/program.ts";
import { makeStep, type Stoppable } from "./step.ts";

/** Bytes of a Tile: slot, first pair, count. */
export const TILE_BYTES = 12;

/** Most tiles that `tokens` tokens with `topK` routes each can be cut into. */
export function maxTiles(tokens: number, topK: number, experts: number, tile: number): number {
  const pairs = tokens * topK;
  return Math.min(pairs, Math.floor(pairs / tile) + Math.min(experts, pairs));
}

export interface GroupArgs extends Stoppable {
  readonly experts: number;
  readonly topK: number;
  readonly tile: number;
  /** Tokens the buffers have room for. */
  readonly maxTokens: number;
  /** [tokens, topK] Route */
  readonly routes: BoundBuffer;
  /** [tokens] u32 */
  readonly counts: GPUBuffer;
  /** [maxTiles] Tile */
  readonly tiles: GPUBuffer;
  /** [tokens · topK] u32 */
  readonly pairs: GPUBuffer;
}

const LANES = 64;

/** Sorts (token, choice) pairs by expert, so that an expert's weights are read once per tile of pairs. */
export function group(gpu: Gpu, args: GroupArgs): Step {
  const { experts, topK, tile, maxTokens, routes, counts, tiles, pairs } = args;
  const constants = {
    LANES,
    EXPERTS: experts,
    ROUTES: topK,
    TILE: tile,
    TILES: maxTiles(maxTokens, topK, experts, tile),
  };
  return makeStep(gpu, {
    label: "group",
    source,
    constants,
    snippets: [routeSet],
    buffers: { routes, counts, tiles, pairs },
    fault: args.fault,
    grid: () => [1, 1],
  });
}
