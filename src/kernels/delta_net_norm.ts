import source from "../../shaders/delta_net_norm.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import type { VectorPiece } from "./rmsnorm.ts";
import { makeStep, reduction, type Stoppable } from "./step.ts";

export interface DeltaNetNormArgs extends Stoppable {
  readonly heads: number;
  /** Of one head; its length is the head's size. */
  readonly weight: VectorPiece;
  readonly epsilon: number;
  /** [tokens, columns] f32, of which heads · size columns from `at` on are the gate's */
  readonly gate: { readonly buffer: GPUBuffer; readonly columns: number; readonly at: number };
  /** [tokens, heads, size] f32, changed in place */
  readonly x: GPUBuffer;
}

/** x = rmsnorm(x) · weight ⊙ silu(gate), head by head. */
export function delta_net_norm(gpu: Gpu, { heads, weight, epsilon, gate, x, fault }: DeltaNetNormArgs): Step {
  const { lanes, snippet, enable } = reduction(gpu, 32);
  return makeStep(gpu, {
    label: "delta_net_norm",
    source,
    enable,
    constants: {
      LANES: lanes,
      SHARED: 1,
      HEADS: heads,
      SIZE: weight.length,
      BASE: weight.base,
      EPSILON: { f32: epsilon },
      GATE_COLS: gate.columns,
      GATE_AT: gate.at,
    },
    snippets: [snippet],
    buffers: { weights: weight.buffer, z: gate.buffer, x },
    fault,
    grid: (tokens) => [heads, tokens],
  });
}
