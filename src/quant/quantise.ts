import { SluiceError } from "../errors.ts";
import { floatsOf, isFloat } from "./floats.ts";
import type { TensorType } from "./formats.ts";
import { dequantise } from "./reference.ts";

const BLOCK_WEIGHTS = 32;

/** Writes the blocks of a row, whose length is a multiple of 32, from the start of `blocks`. */
type Quantiser = (row: Float32Array, blocks: DataView) => void;

/** Bit-equal to the reference ones of ggml, `quantize_row_q8_0_ref` and `quantize_row_q4_0_ref`. */
const quantisers: Partial<Record<TensorType, Quantiser>> = {
  F32: storeFloats,
  Q8_0: quantiseQ8,
  Q4_0: quantiseQ4,
};

/** @throws SluiceError `unsupported-model` if nothing here makes weights of type `to` */
export function requireQuantiser(to: TensorType): void {
  if (quantisers[to]) return;
  throw new SluiceError("unsupported-model", `weights cannot be quantised to ${to}`, {
    remedy: `Use one of ${Object.keys(quantisers).join(", ")}, or a file that is quantised already.`,
    details: { type: to },
  });
}

/** Writes a row of `count` weights, which `bytes` hold as `from`, as blocks of type `to`, from the start of `blocks`. */
export function requantise(
  from: TensorType,
  bytes: Uint8Array,
  count: number,
  to: TensorType,
  blocks: DataView,
) {
  requireQuantiser(to);
  quantisers[to]?.(isFloat(from) ? floatsOf(from, bytes, count) : dequantise(from, bytes, count), blocks);
}

function storeFloats(row: Float32Array, blocks: DataView): void {
  for (let i = 0; i < row.length; i++) blocks.setFloat32(4 * i, row[i] as number, true);
}

const Q8_BYTES = 34;
const Q4_BYTES = 18;
const { fround } = Math;

/** Scale: the largest magnitude is 127. All arithmetic is rounded to f32, as there. */
function quantiseQ8(row: Float32Array, blocks: DataView): void {
  for (let first = 0, at = 0; first < row.length; first += BLOCK_WEIGHTS, at += Q8_BYTES) {
    let most = 0;
    for (let i = 0; i < BLOCK_WEIGHTS; i++) most = Math.max(most, Math.abs(row[first + i] as number));
    const scale = fround(most / 127);
    const inverse = scale === 0 ? 0 : fround(1 / scale);
    blocks.setUint16(at, floatToHalf(scale), true);
    for (let i = 0; i < BLOCK_WEIGHTS; i++) {
      const value = fround((row[first + i] as number) * inverse);
      // roundf: halves go away from zero.
      blocks.setInt8(at + 2 + i, Math.sign(value) * Math.floor(Math.abs(value) + 0.5));
    }
  }
}

/** Scale: the weight of the largest magnitude is -8. */
function quantiseQ4(row: Float32Array, blocks: DataView): void {
  for (let first = 0, at = 0; first < row.length; first += BLOCK_WEIGHTS, at += Q4_BYTES) {
    let most = 0;
    let extreme = 0;
    for (let i = 0; i < BLOCK_WEIGHTS; i++) {
      const value = row[first + i] as number;
      if (Math.abs(value) <= most) continue;
      most = Math.abs(value);
      extreme = value;
    }
    const scale = fround(extreme / -8);
    const inverse = scale === 0 ? 0 : fround(1 / scale);
    const code = (i: number) =>
      Math.min(15, Math.trunc(fround(fround((row[first + i] as number) * inverse) + 8.5)));
    blocks.setUint16(at, floatToHalf(scale), true);
    for (let i = 0; i < BLOCK_WEIGHTS / 2; i++) {
      blocks.setUint8(at + 2 + i, code(i) | (code(i + BLOCK_WEIGHTS / 2) << 4));
    }
  }
}

const word = new DataView(new ArrayBuffer(4));

/** The bits of the IEEE binary16 number next to `value`, halves to even. */
export function floatToHalf(value: number): number {
  word.setFloat32(0, value);
  const bits = word.getUint32(0);
  const sign = (bits >>> 16) & 0x8000;
  const exponent = (bits >>> 23) & 0xff;
  const mantissa = bits & 0x7fffff;
  if (exponent === 0xff) return sign | 0x7c00 | (mantissa === 0 ? 0 : 0x200);
  const magnitude = Math.abs(value);
  if (magnitude >= 65520) return sign | 0x7c00;
  // The step between neighbours; below 2^-14 they are subnormal.
  const power = Math.max(exponent - 127, -14);
  const steps = roundEven(magnitude / 2 ** (power - 10));
  // A mantissa that rounds up to 2^11 becomes the next exponent by itself.
  return sign | (steps + (power + 14) * 1024);
}

function roundEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}
