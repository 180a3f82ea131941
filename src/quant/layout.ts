import type { TensorType } from "./formats.ts";

/**
 * The GPU layout of a matrix: planes, one after the other, each starting at a multiple of 16 bytes.
 * A plane holds one unit of `bytes` bytes per `weights` consecutive weights of a row, and stores units
 * column-major: unit `u` of row `r` lies at index `u · rows + r`. Lanes that own neighbouring rows
 * therefore load neighbouring vectors, whatever the type.
 */
export interface Plane {
  /** 0: one unit for the whole matrix, a table. */
  readonly weights: number;
  readonly bytes: number;
}

const NIBBLES: Plane = { weights: 32, bytes: 16 };
const BITS: Plane = { weights: 32, bytes: 4 };
const BIT_PAIRS: Plane = { weights: 64, bytes: 16 };
const HALF: Plane = { weights: 32, bytes: 2 };
const TWO_HALVES: Plane = { weights: 32, bytes: 4 };
const of256 = (bytes: number): Plane => ({ weights: 256, bytes });

/**
 * Planes of every type the kernels can read. `dequant_<type>.wgsl` reads them, `repack.ts` writes them.
 *
 * Nibbles: byte b of 16 holds weight b (low) and 16 + b (high). Bits: of 32 weights, weight 4j + c at bit 8c + j.
 * Bit pairs: of 64 weights, weight 16h + 4j + c in word h at bits 8c + 2j.
 *
 * F32    4 floats.  F16, BF16  8 halves.
 * Q8_0   16 signed bytes; scale (f16).
 * Q4_0, IQ4_NL  nibbles; scale (f16).
 * Q4_1   nibbles; scale and minimum (f16).
 * Q5_0, Q5_1    nibbles; fifth bits; as Q4_0, Q4_1.
 * MXFP4  nibbles; exponent (a byte).
 * Q1_0   bits; scale (f16) per 128.
 * All others per 256 weights, d and dmin being f16, scales as the file packs them:
 * Q2_K   bit pairs; 16 bytes of scales and minima; d, dmin.
 * Q3_K   bit pairs; third bits; 12 bytes of scales, d, 2 unused.
 * Q4_K   nibbles; d, dmin, 12 bytes of scales and minima.
 * Q5_K   nibbles; fifth bits; as Q4_K.
 * Q6_K   nibbles; upper bit pairs; 16 signed scales; d.
 * IQ4_XS nibbles; d, 6 bytes of scales.
 * IQ3_S  the type's table, 512 times four weights of 3 bits; the lower 8 bits of 16 indexes to it; signs (bits); ninth
 *        bits of 64 indexes, 4 bytes of scales, d, 2 unused.
 * TQ2_0  bit pairs; d.
 * TQ1_0  the file's 52 bytes of base-3 digits as 16, 16, 16 and 4; d.
 */
const layouts: Partial<Record<TensorType, readonly Plane[]>> = {
  F32: [{ weights: 4, bytes: 16 }],
  F16: [{ weights: 8, bytes: 16 }],
  BF16: [{ weights: 8, bytes: 16 }],
  Q8_0: [{ weights: 16, bytes: 16 }, HALF],
  Q4_0: [NIBBLES, HALF],
  Q4_1: [NIBBLES, TWO_HALVES],
  Q5_0: [NIBBLES, BITS, HALF],
  Q5_1: [NIBBLES, BITS, TWO_HALVES],
  Q2_K: [BIT_PAIRS, of256(16), of256(4)],
  Q3_K: [BIT_PAIRS, BITS, of256(16)],
  Q4_K: [NIBBLES, of256(16)],
  Q5_K: [NIBBLES, BITS, of256(16)],
  Q6_K: [NIBBLES, BIT_PAIRS, of256(16), of256(2)],
  IQ4_NL: [NIBBLES, HALF],
  IQ4_XS: [NIBBLES, of256(8)],
  IQ3_S: [{ weights: 0, bytes: 1024 }, { weights: 64, bytes: 16 }, BITS, of256(16)],
  MXFP4: [NIBBLES, { weights: 32, bytes: 1 }],
  TQ1_0: [of256(16), of256(16), of256(16), of256(4), of256(2)],
  TQ2_0: [BIT_PAIRS, of256(2)],
  Q1_0: [BITS, { weights: 128, bytes: 2 }],
};

/** Kernels take a row in groups of this many weights. */
export const GROUP_WEIGHTS = 32;

/** Types that kernels can read, for messages. */
export const runnableTypes = Object.keys(layouts) as TensorType[];

export function isRunnable(type: TensorType): boolean {
  return layouts[type] !== undefined;
}

/** A plane placed in a matrix of `rows` × `cols`. */
export interface PlacedPlane extends Plane {
  /** Bytes from the start of the matrix. */
  readonly offset: number;
}

/** Where the planes of a `rows` × `cols` matrix lie, and its size in bytes (a multiple of 16). */
export function placePlanes(
  type: TensorType,
  rows: number,
  cols: number,
): { planes: PlacedPlane[]; bytes: number } {
  const planes: PlacedPlane[] = [];
  let offset = 0;
  for (const plane of layouts[type] ?? []) {
    planes.push({ ...plane, offset });
    const units = plane.weights === 0 ? 1 : Math.ceil(cols / plane.weights) * rows;
    offset += align(units * plane.bytes, 16);
  }
  return { planes, bytes: offset };
}

export function align(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}
