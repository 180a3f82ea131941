import source from "../../shaders/embed_series.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import { type Activation, activationCode } from "./activation.ts";
import type { VectorPiece } from "./rmsnorm.ts";
import { makeStep, type Stoppable } from "./step.ts";

export interface EmbedSeriesArgs extends Stoppable {
  /** Numbers of a point. */
  readonly size: number;
  readonly activation: Activation;
  /** [cols, size] each */
  readonly gate: VectorPiece;
  readonly value: VectorPiece;
  /** [context + 1, size] f32 */
  readonly points: GPUBuffer;
  /** [tokens, cols] f32 */
  readonly x: GPUBuffer;
}

const LANES = 64;

/** x[t] = f(gate · p) ⊙ (value · p), p = points[position + t]. */
export function embed_series(gpu: Gpu, args: EmbedSeriesArgs): Step {
  const { size, gate, value, points, x, fault } = args;
  const cols = gate.length / size;
  const activation = activationCode(args);
  return makeStep(gpu, {
    label: "embed_series",
    source,
    constants: {
      LANES,
      COLS: cols,
      SIZE: size,
      GATE_BASE: gate.base,
      VALUE_BASE: value.base,
      ...activation.constants,
    },
    snippets: activation.snippets,
    buffers: { gates: gate.buffer, values: value.buffer, points, x },
    fault,
    grid: (tokens) => [Math.ceil(cols / LANES), tokens],
  });
}
