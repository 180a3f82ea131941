import { SluiceError } from "../errors.ts";
import { halfToFloat, smallFloat } from "./floats.ts";
import { fileFormats, type TensorType } from "./formats.ts";
import { iq3Grid } from "./iq3_grid.ts";

/**
 * How weights follow from the bytes of a block: `weight[i] = scale(⌊i/group⌋) · code(i) − min(⌊i/group⌋)`.
 * `at` is the block's first byte. Scales and codes have few bits: f32 arithmetic rounds the result only.
 */
interface Codec {
  /** Weights that share a scale and a minimum. */
  readonly group: number;
  readonly code: (bytes: DataView, at: number, i: number) => number;
  readonly scale: (bytes: DataView, at: number, group: number) => number;
  readonly min?: (bytes: DataView, at: number, group: number) => number;
}

/**
 * The `count` weights that `bytes` stand for, bit-equal to ggml's: the judge of every faster path. Throws
 * `unsupported-model` for a type it cannot decode, `bad-model-file` for part of a block or missing bytes.
 */
export function dequantise(type: TensorType, bytes: Uint8Array, count: number): Float32Array<ArrayBuffer> {
  const codec = codecs[type];
  if (codec === undefined) {
    throw new SluiceError("unsupported-model", `tensor type ${type} cannot be dequantised`, {
      remedy: `Use a file in one of these types: ${Object.keys(codecs).join(", ")}.`,
      details: { type },
    });
  }
  const { block, bytes: blockBytes } = fileFormats[type];
  const needed = Math.ceil(count / block) * blockBytes;
  if (count % block !== 0 || bytes.byteLength < needed) {
    const message = `${count} weights of type ${type} need ${needed} bytes in whole blocks of ${block}`;
    throw new SluiceError("bad-model-file", `${message}, but there are ${bytes.byteLength} bytes`, {
      remedy: "The file is cut short or its header is wrong; fetch it again.",
      details: { type, count, needed, available: bytes.byteLength },
    });
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const weights = new Float32Array(count);
  const { group, code, scale, min } = codec;
  for (let first = 0; first < count; first += group) {
    const at = Math.floor(first / block) * blockBytes;
    const start = first % block;
    const s = scale(view, at, start / group);
    const m = min === undefined ? 0 : min(view, at, start / group);
    for (let i = 0; i < group; i++) weights[first + i] = s * code(view, at, start + i) - m;
  }
  return weights;
}

const half = (bytes: DataView, at: number): number => halfToFloat(bytes.getUint16(at, true));

/** 4-bit codes, 32 to 16 bytes: low nibbles are the first 16 weights, high nibbles the other 16. */
const nibbleHalves = (bytes: DataView, at: number, i: number): number =>
  (bytes.getUint8(at + (i >> 5) * 16 + (i & 15)) >> ((i & 16) >> 2)) & 15;

/** 4-bit codes, 64 to 32 bytes: low nibbles are the first 32 weights, high nibbles the other 32. */
const nibblePairs = (bytes: DataView, at: number, i: number): number =>
  (bytes.getUint8(at + (i >> 6) * 32 + (i & 31)) >> ((i & 32) >> 3)) & 15;

/** 2-bit codes, 128 to 32 bytes: each bit pair of a byte belongs to another run of 32 weights. */
const bitPairs = (bytes: DataView, at: number, i: number): number =>
  (bytes.getUint8(at + (i >> 7) * 32 + (i & 31)) >> (((i >> 5) & 3) * 2)) & 3;

/** 1-bit codes, 256 to 32 bytes: bit g of a byte belongs to the g-th run of 32 weights. */
const bitPlanes = (bytes: DataView, at: number, i: number): number =>
  (bytes.getUint8(at + (i & 31)) >> (i >> 5)) & 1;

/** 1-bit codes in order, least significant first. */
const bitString = (bytes: DataView, at: number, i: number): number =>
  (bytes.getUint8(at + (i >> 3)) >> (i & 7)) & 1;

/** Unquantised numbers. */
const plain = (read: (bytes: DataView, at: number) => number): Codec => ({
  group: 1,
  code: read,
  scale: () => 1,
});

/** 32 weights: scale, minimum where codes are unsigned, 4 bytes of fifth bits if there are any, nibbles. */
function blockOf32(bits: 4 | 5, kind: "signed" | "offset"): Codec {
  const high = kind === "signed" ? 2 : 4;
  const low = bits === 5 ? high + 4 : high;
  const centre = kind === "signed" ? 1 << (bits - 1) : 0;
  return {
    group: 32,
    code: (bytes, at, i) =>
      (nibbleHalves(bytes, at + low, i) | (bits === 5 ? bitString(bytes, at + high, i) << 4 : 0)) - centre,
    scale: half,
    ...(kind === "offset" && { min: (bytes, at) => -half(bytes, at + 2) }),
  };
}

/** The g-th of eight 6-bit scales (`which` 0) or minima (`which` 4) that share 12 bytes in Q4_K and Q5_K. */
function sixBits(bytes: DataView, at: number, g: number, which: 0 | 4): number {
  if (g < 4) return bytes.getUint8(at + g + which) & 63;
  const low = bytes.getUint8(at + g + 4) >> which;
  return (low & 15) | ((bytes.getUint8(at + g - 4 + which) >> 6) << 4);
}

/** Q4_K and Q5_K: d, dmin, 12 bytes of scales and minima, 32 bytes of fifth bits in Q5_K, 128 of nibbles. */
function superBlock(bits: 4 | 5): Codec {
  const low = bits === 5 ? 48 : 16;
  return {
    group: 32,
    code: (bytes, at, i) =>
      nibblePairs(bytes, at + low, i) | (bits === 5 ? bitPlanes(bytes, at + 16, i) << 4 : 0),
    scale: (bytes, at, g) => half(bytes, at) * sixBits(bytes, at + 4, g, 0),
    min: (bytes, at, g) => half(bytes, at + 2) * sixBits(bytes, at + 4, g, 4),
  };
}

/** Q3_K's g-th scale: 4 low bits in bytes 96..103, 2 high bits in bytes 104..107, stored with 32 added. */
function q3Scale(bytes: DataView, at: number, g: number): number {
  const low = (bytes.getUint8(at + 96 + (g & 7)) >> (g < 8 ? 0 : 4)) & 15;
  const high = (bytes.getUint8(at + 104 + (g & 3)) >> ((g >> 2) * 2)) & 3;
  return (low | (high << 4)) - 32;
}

/** IQ4_XS's g-th scale: 4 low bits from byte 4 on, 2 high bits in the word at 2, stored with 32 added. */
function iq4Scale(bytes: DataView, at: number, g: number): number {
  const low = (bytes.getUint8(at + 4 + (g >> 1)) >> ((g & 1) * 4)) & 15;
  const high = (bytes.getUint16(at + 2, true) >> (g * 2)) & 3;
  return (low | (high << 4)) - 32;
}

/** IQ3_S: an index of 8 bits from byte 2 on and a ninth from 66 on gives four weights; signs from 74 on. */
function iq3Level(bytes: DataView, at: number, i: number): number {
  const index = bytes.getUint8(at + 2 + (i >> 2)) | (bitString(bytes, at + 66, i >> 2) << 8);
  const level = 2 * (((iq3Grid[index] as number) >> (3 * (i & 3))) & 7) + 1;
  return bitString(bytes, at + 74, i) === 1 ? -level : level;
}

/** TQ1_0 puts five base-3 digits in a byte as a fraction of 256: multiplying by 3 moves the next one out. */
function ternaryDigit(bytes: DataView, at: number, i: number): number {
  const run = i < 160 ? { byte: 0, width: 32, first: 0 } : tailOf(i);
  const offset = i - run.first;
  const digit = Math.floor(offset / run.width);
  const fraction = (bytes.getUint8(at + run.byte + (offset % run.width)) * 3 ** digit) & 255;
  return ((fraction * 3) >> 8) - 1;
}

const tailOf = (i: number) =>
  i < 240 ? { byte: 32, width: 16, first: 160 } : { byte: 48, width: 4, first: 240 };

/** The 16 levels of IQ4_NL and IQ4_XS. */
const iq4Levels = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113] as const;

/** The 16 values of an FP4 (E2M1) number, doubled so that they are integers. */
const fp4Doubled = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12] as const;

const codecs: Partial<Record<TensorType, Codec>> = {
  F32: plain((bytes, at) => bytes.getFloat32(at, true)),
  F16: plain(half),
  BF16: plain((bytes, at) => smallFloat(bytes.getUint16(at, true), 7, 127)),
  Q8_0: { group: 32, code: (bytes, at, i) => bytes.getInt8(at + 2 + i), scale: half },
  Q4_0: blockOf32(4, "signed"),
  Q4_1: blockOf32(4, "offset"),
  Q5_0: blockOf32(5, "signed"),
  Q5_1: blockOf32(5, "offset"),
  Q2_K: {
    group: 16,
    code: (bytes, at, i) => bitPairs(bytes, at + 16, i),
    scale: (bytes, at, g) => half(bytes, at + 80) * (bytes.getUint8(at + g) & 15),
    min: (bytes, at, g) => half(bytes, at + 82) * (bytes.getUint8(at + g) >> 4),
  },
  Q3_K: {
    group: 16,
    code: (bytes, at, i) => (bitPairs(bytes, at + 32, i) | (bitPlanes(bytes, at, i) << 2)) - 4,
    scale: (bytes, at, g) => half(bytes, at + 108) * q3Scale(bytes, at, g),
  },
  Q4_K: superBlock(4),
  Q5_K: superBlock(5),
  Q6_K: {
    group: 16,
    // Low nibbles of 64 bytes are the first 64 weights, high nibbles the other 64.
    code: (bytes, at, i) =>
      (((bytes.getUint8(at + (i >> 7) * 64 + (i & 63)) >> ((i & 64) >> 4)) & 15) |
        (bitPairs(bytes, at + 128, i) << 4)) -
      32,
    scale: (bytes, at, g) => half(bytes, at + 208) * bytes.getInt8(at + 192 + g),
  },
  IQ4_NL: {
    group: 32,
    code: (bytes, at, i) => iq4Levels[nibbleHalves(bytes, at + 2, i)] as number,
    scale: half,
  },
  IQ4_XS: {
    group: 32,
    code: (bytes, at, i) => iq4Levels[nibbleHalves(bytes, at + 8, i)] as number,
    scale: (bytes, at, g) => half(bytes, at) * iq4Scale(bytes, at, g),
  },
  IQ3_S: {
    group: 32,
    code: iq3Level,
    scale: (bytes, at, g) =>
      half(bytes, at) * (2 * ((bytes.getUint8(at + 106 + (g >> 1)) >> (4 * (g & 1))) & 15) + 1),
  },
  MXFP4: {
    group: 32,
    code: (bytes, at, i) => fp4Doubled[nibbleHalves(bytes, at + 1, i)] as number,
    scale: (bytes, at) => 2 ** (bytes.getUint8(at) - 128),
  },
  TQ1_0: { group: 256, code: ternaryDigit, scale: (bytes, at) => half(bytes, at + 52) },
  TQ2_0: {
    group: 256,
    code: (bytes, at, i) => bitPairs(bytes, at, i) - 1,
    scale: (bytes, at) => half(bytes, at + 64),
  },
  Q1_0: { group: 128, code: (bytes, at, i) => 2 * bitString(bytes, at + 2, i) - 1, scale: half },
};
