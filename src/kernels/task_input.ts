import requestRow from "../../shaders/lib/request.wgsl?raw";
import source from "../../shaders/task_input.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { BoundBuffer } from "../gpu/pipelines.ts";
import type { Step } from "../gpu/program.ts";
import type { VectorPiece } from "./rmsnorm.ts";
import { makeStep, type Stoppable } from "./step.ts";

export interface TaskInputArgs extends Stoppable {
  readonly cols: number;
  /** Elements of a task's embedding; a multiple of 4, as `cols` is. */
  readonly size: number;
  /** [tasks, size] */
  readonly embedding: VectorPiece;
  /** A site's row, see `request_logits` */
  readonly request: BoundBuffer;
  /** [tokens, cols] f32 */
  readonly x: GPUBuffer;
  /** [tokens, cols + size] f32 */
  readonly y: GPUBuffer;
}

const LANES = 64;

/** y = x and behind it the embedding of the request's task. */
export function task_input(gpu: Gpu, args: TaskInputArgs): Step {
  const { cols, size, embedding, request, x, y, fault } = args;
  return makeStep(gpu, {
    label: "task_input",
    source,
    constants: { LANES, COLS: cols, SIZE: size, BASE: embedding.base },
    snippets: [requestRow],
    buffers: { x, embedding: embedding.buffer, request, y },
    fault,
    grid: (tokens) => [Math.ceil((cols + size) / 4 / LANES), tokens],
  });
}
