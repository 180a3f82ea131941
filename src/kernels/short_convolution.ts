import source from "../../shaders/short_convolution.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import type { VectorPiece } from "./rmsnorm.ts";
import { makeStep, type Stoppable } from "./step.ts";

export interface ShortConvolutionArgs extends Stoppable {
  readonly channels: number;
  /** [channels, taps], the newest token last. */
  readonly weight: VectorPiece;
  /** [tokens, columns] f32 */
  readonly x: GPUBuffer;
  readonly columns: number;
  /** First column of the channels. */
  readonly at: number;
  /** First column of what multiplies them before the convolution, and of what multiplies its result. */
  readonly gateInAt?: number | undefined;
  readonly gateOutAt?: number | undefined;
  /** y = silu(convolution) */
  readonly silu?: boolean;
  /** [taps − 1, channels] f32, kept from replay to replay; counts as zeros at position 0. */
  readonly state: GPUBuffer;
  /** [tokens, channels] f32 */
  readonly y: GPUBuffer;
}

const LANES = 64;
/** Tokens of a lane, at least: the tile before must hold all that is seen of earlier tokens. */
const TILE = 16;

/** Floats of `state`. */
export function shortConvolutionState(channels: number, taps: number): number {
  return channels * (taps - 1);
}

/** y[t] = Σ_i weight[i] ⊙ x[t − (taps − 1) + i], the causal convolution over time of each channel. */
export function short_convolution(gpu: Gpu, args: ShortConvolutionArgs): Step {
  const { channels, weight, x, gateInAt, gateOutAt, silu = false, state, y, fault } = args;
  const taps = weight.length / channels;
  const tile = Math.max(TILE, taps - 1);
  return makeStep(gpu, {
    label: "short_convolution",
    source,
    constants: {
      LANES,
      TILE: tile,
      CHANNELS: channels,
      TAPS: taps,
      BASE: weight.base,
      COLS: args.columns,
      INPUT: args.at,
      GATE_IN: gateInAt !== undefined,
      GATE_IN_AT: gateInAt ?? 0,
      GATE_OUT: gateOutAt !== undefined,
      GATE_OUT_AT: gateOutAt ?? 0,
      SILU: silu,
    },
    buffers: { weights: weight.buffer, x, state, y },
    fault,
    grid: (tokens) => [Math.ceil(channels / LANES), Math.ceil(tokens / tile)],
  });
}
