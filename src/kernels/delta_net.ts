import source from "../../shaders/delta_net.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import type { VectorPiece } from "./rmsnorm.ts";
import { makeStep, type Stoppable } from "./step.ts";

export interface DeltaNetArgs extends Stoppable {
  readonly keyHeads: number;
  /** A multiple of `keyHeads`. */
  readonly valueHeads: number;
  /** Elements of a key and of a value, multiples of 4. */
  readonly keySize: number;
  readonly valueSize: number;
  /** Value head h reads key head h mod keyHeads; else key heads are repeated one behind the other. */
  readonly tiled: boolean;
  /** A key or query shorter than this is divided by this rather than by its length. */
  readonly epsilon: number;
  /** [valueHeads]: −exp(A) and the bias of alpha. */
  readonly decay: VectorPiece;
  readonly decayBias: VectorPiece;
  /** [tokens, keyHeads · keySize + keyHeads · keySize + valueHeads · valueSize] f32: q, k, v, not normalised */
  readonly qkv: GPUBuffer;
  readonly gates: GateColumns;
  /** [valueHeads, keySize, valueSize] f32, kept from replay to replay; counts as zeros at position 0. */
  readonly state: GPUBuffer;
  /** [tokens, valueHeads, valueSize] f32 */
  readonly out: GPUBuffer;
}

/** Where alpha and beta of each value head lie, as the matrices give them. */
export interface GateColumns {
  /** [tokens, columns] f32 */
  readonly buffer: GPUBuffer;
  readonly columns: number;
  readonly alphaAt: number;
  readonly betaAt: number;
  /** Heads whose columns follow each other, and columns from one such run to the next. Absent: all of them. */
  readonly run?: { readonly heads: number; readonly step: number } | undefined;
}

/** Most vectors of four columns in a workgroup, and most lanes that share one. */
const COLUMNS = 8;
const SPLITS = 8;

/** Corrects each head's state with every token, and reads it with the token's query. */
export function delta_net(gpu: Gpu, args: DeltaNetArgs): Step {
  const { valueHeads, keySize, valueSize, decay, decayBias, qkv, gates, state, out } = args;
  const { run = { heads: valueHeads, step: 0 } } = gates;
  const columns = powerDividing(valueSize / 4, COLUMNS);
  return makeStep(gpu, {
    label: "delta_net",
    source,
    constants: {
      COLUMNS: columns,
      // Barriers are dear on software adapters, and registers are memory anyway.
      SPLITS: gpu.software ? 1 : powerDividing(keySize / 4, SPLITS),
      KEY_HEADS: args.keyHeads,
      HEADS: valueHeads,
      KEY: keySize,
      VALUE: valueSize,
      TILED: args.tiled,
      EPSILON: { f32: args.epsilon },
      DECAY: decay.base,
      BIAS: decayBias.base,
      GATE_COLS: gates.columns,
      ALPHA: gates.alphaAt,
      BETA: gates.betaAt,
      RUN: run.heads,
      STEP: run.step,
    },
    buffers: { decay: decay.buffer, bias: decayBias.buffer, qkv, gates: gates.buffer, state, out },
    fault: args.fault,
    grid: () => [valueSize / 4 / columns, valueHeads],
  });
}

/** The largest power of two that divides `count`, up to `most`. */
function powerDividing(count: number, most: number): number {
  let power = 1;
  while (power < most && count % (2 * power) === 0) power *= 2;
  return power;
}
