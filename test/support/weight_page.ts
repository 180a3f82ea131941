import { type MatrixPiece, VECTOR_BYTES } from "../../src/kernels/matrix.ts";
import { fileBytes, fileFormats, type TensorType } from "../../src/quant/formats.ts";
import { align, placePlanes } from "../../src/quant/layout.ts";
import { dequantise } from "../../src/quant/reference.ts";
import { repackPart } from "../../src/quant/repack.ts";
import type { Matrix } from "../reference/index.ts";
import { integer, type Random } from "./random.ts";

/** A matrix in a page: where kernels find it, and the floats it stands for. */
export interface PlacedMatrix extends Omit<MatrixPiece, "buffer">, Matrix {
  readonly scale?: never;
  readonly bias?: never;
}

const PART_ALIGNMENT_BYTES = 256;
const NAN_BYTE = 0xff;

/**
 * Random weights in the GPU layout, as one page of bytes. Nothing starts at 0, and what lies between the
 * parts is NaN in every format, so that a wrong base shows.
 */
export class WeightPage {
  readonly #random: Random;
  readonly #parts: Uint8Array[] = [];
  #bytes = PART_ALIGNMENT_BYTES;

  constructor(random: Random) {
    this.#random = random;
  }

  matrix(type: TensorType, rows: number, cols: number): PlacedMatrix {
    const source = randomBlocks(this.#random, type, rows * cols);
    const { bytes } = placePlanes(type, rows, cols);
    const page = new Uint8Array(bytes).fill(NAN_BYTE);
    const part = { tensor: type, type, stored: type, rows, cols, offset: 0, bytes };
    repackPart({ ...part, source: { offset: 0, bytes: source.length } }, source, page);
    return { type, base: this.#place(page), rows, cols, values: dequantise(type, source, rows * cols) };
  }

  /** A vector of f32; its first vector. */
  floats(values: Float32Array): number {
    const page = new Uint8Array(align(values.byteLength, VECTOR_BYTES)).fill(NAN_BYTE);
    page.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    return this.#place(page);
  }

  get byteLength(): number {
    return this.#bytes;
  }

  bytes(): Uint8Array<ArrayBuffer> {
    const page = new Uint8Array(this.#bytes).fill(NAN_BYTE);
    let at = PART_ALIGNMENT_BYTES;
    for (const part of this.#parts) {
      page.set(part, at);
      at = this.#after(at, part);
    }
    return page;
  }

  #place(part: Uint8Array): number {
    const base = this.#bytes / VECTOR_BYTES;
    this.#parts.push(part);
    this.#bytes = this.#after(this.#bytes, part);
    return base;
  }

  #after(at: number, part: Uint8Array): number {
    return align(at + part.length + VECTOR_BYTES, PART_ALIGNMENT_BYTES);
  }
}

/** Byte offsets of the f16 numbers in a block: random bits there would be infinities and NaNs. */
const halvesOf: Partial<Record<TensorType, readonly number[]>> = {
  F16: [0],
  Q8_0: [0],
  Q4_0: [0],
  Q4_1: [0, 2],
  Q5_0: [0],
  Q5_1: [0, 2],
  Q2_K: [80, 82],
  Q3_K: [108],
  Q4_K: [0, 2],
  Q5_K: [0, 2],
  Q6_K: [208],
  IQ4_NL: [0],
  IQ4_XS: [0],
  IQ3_S: [0],
  TQ1_0: [52],
  TQ2_0: [64],
  Q1_0: [0],
};

/** Bytes of a file that hold `count` weights: any quants, scales of either sign and now and then zero. */
export function randomBlocks(random: Random, type: TensorType, count: number): Uint8Array<ArrayBuffer> {
  const bytes = Uint8Array.from({ length: fileBytes(type, count) }, () => integer(random, 256));
  const view = new DataView(bytes.buffer);
  const blockBytes = fileFormats[type].bytes;
  for (let at = 0; at < bytes.length; at += blockBytes) {
    if (type === "F32") view.setFloat32(at, 2 * random() - 1, true);
    if (type === "BF16") view.setUint16(at, randomBfloat(random), true);
    if (type === "MXFP4") bytes[at] = 118 + integer(random, 5);
    for (const half of halvesOf[type] ?? []) view.setUint16(at + half, randomHalf(random), true);
  }
  return bytes;
}

/** A bfloat16 with 2⁻⁸ ≤ |b| < 2⁻⁴. */
function randomBfloat(random: Random): number {
  return (integer(random, 2) << 15) | ((127 - 8 + integer(random, 4)) << 7) | integer(random, 128);
}

/** An f16 with 2⁻⁸ ≤ |h| < 2⁻⁴, or zero. */
function randomHalf(random: Random): number {
  if (integer(random, 16) === 0) return 0;
  const sign = integer(random, 2) << 15;
  return sign | ((15 - 8 + integer(random, 4)) << 10) | integer(random, 1024);
}
