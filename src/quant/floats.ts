import type { TensorType } from "./formats.ts";

/** Types whose weights are numbers by themselves, without a block's scale. */
export type FloatType = "F32" | "F16" | "BF16";

export function isFloat(type: TensorType): type is FloatType {
  return type === "F32" || type === "F16" || type === "BF16";
}

/** The `count` numbers in `bytes`, as `dequantise` reads them, without a call for each. */
export function floatsOf(type: FloatType, bytes: Uint8Array, count: number): Float32Array {
  const floats = new Float32Array(count);
  if (type === "F32") {
    new Uint8Array(floats.buffer).set(bytes.subarray(0, 4 * count));
    return floats;
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (type === "BF16") {
    const words = new Uint32Array(floats.buffer);
    for (let i = 0; i < count; i++) words[i] = view.getUint16(2 * i, true) << 16;
    return floats;
  }
  halves ??= Float32Array.from({ length: 2 ** 16 }, (_, bits) => halfToFloat(bits));
  for (let i = 0; i < count; i++) floats[i] = halves[view.getUint16(2 * i, true)] as number;
  return floats;
}

/** By their bits; made when it is first needed. */
let halves: Float32Array | undefined;

/** The value of an IEEE binary16 number given as its 16 bits. */
export const halfToFloat = (bits: number): number => smallFloat(bits, 10, 15);

/** The value of a 16-bit float: sign, exponent with `bias` added, `mantissaBits` bits of mantissa. */
export function smallFloat(bits: number, mantissaBits: number, bias: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits & 0x7fff) >> mantissaBits;
  const mantissa = bits & ((1 << mantissaBits) - 1);
  if (exponent === 2 * bias + 1) return mantissa === 0 ? sign * Infinity : NaN;
  const isNormal = exponent > 0;
  const significand = isNormal ? mantissa | (1 << mantissaBits) : mantissa;
  return sign * significand * 2 ** ((isNormal ? exponent : 1) - bias - mantissaBits);
}
