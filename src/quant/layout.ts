import type { TensorType } from "./formats.ts";

/**
 * The GPU layout of a matrix: planes, one after the other, each starting at a multiple of 16 bytes.
 * A plane holds one unit of `bytes` bytes per `weights` consecutive weights of a row, and stores units
 * column-major: unit `u` of row `r` lies at index `u · rows + r`. Lanes that own neighbouring rows
 * therefore load neighbouring vectors, whatever the type.
 */
export interface Plane {
  readonly weights: number;
  readonly bytes: number;
}

const QUANTS_4BIT: Plane = { weights: 32, bytes: 16 };
const HALF_PER_32: Plane = { weights: 32, bytes: 2 };

/**
 * Planes of every type the kernels can read. `dequant_<type>.wgsl` reads them, `repack.ts` writes them.
 *
 * F32  4 floats.  F16  8 halves.
 * Q8_0 16 signed bytes; scale (f16).
 * Q4_0 nibbles: byte b of 16 holds weight b (low) and 16 + b (high); scale (f16).
 * Q4_K nibbles as Q4_0; per 256 weights d and dmin (f16) and the file's 12 bytes of 6-bit scales and mins.
 * Q6_K nibbles as Q4_0; the upper 2 bits of 64 weights, in word h weight 16h + 4j + c at bit 8c + 2j;
 *      16 signed scales per 256; d (f16) per 256.
 */
const layouts: Partial<Record<TensorType, readonly Plane[]>> = {
  F32: [{ weights: 4, bytes: 16 }],
  F16: [{ weights: 8, bytes: 16 }],
  Q8_0: [{ weights: 16, bytes: 16 }, HALF_PER_32],
  Q4_0: [QUANTS_4BIT, HALF_PER_32],
  Q4_K: [QUANTS_4BIT, { weights: 256, bytes: 16 }],
  Q6_K: [QUANTS_4BIT, { weights: 64, bytes: 16 }, { weights: 256, bytes: 16 }, { weights: 256, bytes: 2 }],
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
    offset += align(Math.ceil(cols / plane.weights) * rows * plane.bytes, 16);
  }
  return { planes, bytes: offset };
}

export function align(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}
