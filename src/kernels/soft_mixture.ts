import source from "../../shaders/soft_mixture.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import { makeStep, type Stoppable } from "./step.ts";

export interface SoftMixtureArgs extends Stoppable {
  readonly experts: number;
  /** A multiple of 4. */
  readonly cols: number;
  /** Multiplies the sum. */
  readonly scale?: number;
  /** Write `x`, whatever it holds, rather than add to it. */
  readonly store?: boolean | undefined;
  /** f32: those of token t's experts from t · row + first on */
  readonly logits: { readonly buffer: GPUBuffer; readonly row: number; readonly first: number };
  /** [tokens, experts, cols] f32 */
  readonly rows: GPUBuffer;
  /** [tokens, cols] f32 */
  readonly x: GPUBuffer;
}

const LANES = 64;

/** x += scale · Σ softmax(logits) · what the experts gave, which are all of them. */
export function soft_mixture(gpu: Gpu, args: SoftMixtureArgs): Step {
  const { experts, cols, scale = 1, store = false, logits, rows, x, fault } = args;
  return makeStep(gpu, {
    label: "soft_mixture",
    source,
    constants: {
      LANES,
      EXPERTS: experts,
      COLS: cols,
      LOGIT_ROW: logits.row,
      FIRST: logits.first,
      SCALE: { f32: scale },
      STORE: store,
    },
    buffers: { logits: logits.buffer, rows, x },
    fault,
    grid: (tokens) => [Math.ceil(cols / 4 / LANES), tokens],
  });
}
