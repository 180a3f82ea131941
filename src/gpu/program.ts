import type { Gpu } from "./gpu.ts";
import type { ParamArena } from "./params.ts";
import type { Kernel } from "./pipelines.ts";

/** Workgroups for a replay of `tokens` tokens. */
export type Grid = (tokens: number) => readonly [x: number, y: number];

/** One dispatch, with everything bound. */
export interface Step {
  readonly label: string;
  readonly kernel: Kernel;
  readonly bindGroup: GPUBindGroup;
  readonly grid: Grid;
}

/** Replays `steps` in `pass` with the params at dynamic offset `params`. Creates nothing. */
export function replay(
  gpu: Gpu,
  pass: GPUComputePassEncoder,
  steps: readonly Step[],
  arena: ParamArena,
  params: number,
  tokens: number,
): void {
  pass.setBindGroup(1, arena.bindGroup, [params]);
  for (const { kernel, bindGroup, grid } of steps) {
    if (!kernel.pipeline) throw new Error(`${kernel.label} was replayed before it compiled`);
    const [x, y] = grid(tokens);
    pass.setPipeline(kernel.pipeline);
    pass.setBindGroup(0, bindGroup);
    pass.dispatchWorkgroups(x, y);
  }
  gpu.counters.dispatches += steps.length;
}
