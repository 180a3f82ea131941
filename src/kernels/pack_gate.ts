import source from "../../shaders/pack_gate.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import { dequantOf, type MatrixPiece, stackCode, stacksOf, VECTOR_BYTES } from "./matrix.ts";
import type { VectorPiece } from "./rmsnorm.ts";
import { makeStep } from "./step.ts";

/** Bytes of one site's gate: a half for each expert and column. */
export const gateBytes = (experts: number, cols: number): number => 2 * experts * cols;

/**
 * Sites `site` to `site + count − 1` of a buffer of gates: what to bind, which starts where a binding may, and
 * the first vector in it. Like sites so get like shaders, and share a pipeline.
 */
export function gateRange(gpu: Gpu, gates: GPUBuffer, site: number, count: number, bytes: number) {
  const start = site * bytes;
  const slack = start % gpu.device.limits.minStorageBufferOffsetAlignment;
  const binding: GPUBufferBinding = { buffer: gates, offset: start - slack, size: slack + count * bytes };
  return { binding, base: slack / VECTOR_BYTES };
}

export interface PackGateArgs {
  /** The router's row pieces, in order. Scales are folded in, biases are not: a guess does without. */
  readonly router: readonly MatrixPiece[];
  /** [cols] f32, the weight of the norm before the router; absent: there is none. A norm's bias is left out too. */
  readonly norm: VectorPiece | undefined;
  /** [sites, cols / 8, experts, 8] f16; rows that the site does not have stay as they are, which is zero. */
  readonly gates: GPUBuffer;
  /** Index of the site within `gates`. */
  readonly site: number;
  /** The most experts of any site. */
  readonly experts: number;
}

const LANES = 64;

/** gates[site] = router · norm, for `next_gate`: one step for each buffer and type among the router's pieces. */
export function pack_gate(gpu: Gpu, { router, norm, gates, site, experts }: PackGateArgs): Step[] {
  return stacksOf(router).map(({ stack, buffer, type, rows, cols }) => {
    const { binding, base } = gateRange(gpu, gates, site, 1, gateBytes(experts, cols));
    return makeStep(gpu, {
      label: "pack_gate",
      source,
      constants: {
        LANES,
        EXPERTS: experts,
        ROWS: rows,
        COLS: cols,
        NORMED: norm !== undefined,
        NORM: norm?.base ?? 0,
        BASE: base,
      },
      snippets: [...dequantOf([type]), stackCode(stack, type, cols)],
      buffers: { weights: buffer, norm: norm?.buffer ?? buffer, gates: binding },
      grid: () => [Math.ceil(rows / LANES), cols / 32],
    });
  });
}
