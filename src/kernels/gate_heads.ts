import source from "../../shaders/gate_heads.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import { makeStep, type Stoppable } from "./step.ts";

export interface GateHeadsArgs extends Stoppable {
  readonly heads: number;
  /** Elements of a head of `attended`. */
  readonly size: number;
  /** Floats of a token in `source`. */
  readonly columns: number;
  /** First gate of a token. */
  readonly at: number;
  /** Floats from the first gate of a head to that of the next. */
  readonly step: number;
  /** A head has one gate rather than `size`. */
  readonly perHead?: boolean | undefined;
  /** [tokens, columns] f32: logits of gates, and what else a matmul gave */
  readonly source: GPUBuffer;
  /** [tokens, heads, size] f32, multiplied in place */
  readonly attended: GPUBuffer;
}

const LANES = 64;

/** attended *= sigmoid(gates), element by element or head by head. */
export function gate_heads(gpu: Gpu, args: GateHeadsArgs): Step {
  const { heads, size, columns, at, step, perHead = false, source: gates, attended, fault } = args;
  return makeStep(gpu, {
    label: "gate_heads",
    source,
    constants: {
      LANES,
      HEADS: heads,
      SIZE: size,
      COLUMNS: columns,
      AT: at,
      STEP: step,
      PER_HEAD: perHead,
    },
    buffers: { source: gates, attended },
    fault,
    grid: (tokens) => [Math.ceil((heads * size) / LANES), tokens],
  });
}
