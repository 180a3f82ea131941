import source from "../../shaders/cosine_gate.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import type { VectorPiece } from "./rmsnorm.ts";
import { makeStep, type Stoppable } from "./step.ts";

export interface CosineGateArgs extends Stoppable {
  readonly experts: number;
  /** Elements of `z` of a token, and of each centroid. */
  readonly cols: number;
  /** Multiplies the cosines. */
  readonly factor: number;
  /** [1], whose exponential multiplies them too; no more than `most` counts of it. */
  readonly temperature?: { readonly vector: VectorPiece; readonly most?: number | undefined } | undefined;
  /** Lengths below this count as this. */
  readonly least: number;
  /** [tokens, cols] f32 */
  readonly z: GPUBuffer;
  /** [experts, cols] */
  readonly centroids: VectorPiece;
  /** [tokens, experts] f32 */
  readonly logits: GPUBuffer;
}

const LANES = 64;
/** What an exponential of an f32 can be of. */
const MOST_TEMPERATURE = 88;

/** Router logits by angle: how near what a token projects to lies to the centroid of each expert. */
export function cosine_gate(gpu: Gpu, args: CosineGateArgs): Step {
  const { experts, cols, factor, temperature, least, z, centroids, logits, fault } = args;
  return makeStep(gpu, {
    label: "cosine_gate",
    source,
    constants: {
      LANES,
      EXPERTS: experts,
      COLS: cols,
      BASE: centroids.base,
      FACTOR: { f32: factor },
      LEAST: { f32: least },
      TEMPERED: temperature !== undefined,
      TEMPERATURE: temperature?.vector.base ?? 0,
      MOST: { f32: temperature?.most ?? MOST_TEMPERATURE },
    },
    // A binding that is not read needs a buffer too.
    buffers: {
      ...{ z, centroids: centroids.buffer, logits },
      temperature: (temperature?.vector ?? centroids).buffer,
    },
    fault,
    grid: (tokens) => [Math.ceil(experts / LANES), tokens],
  });
}
