import { SluiceError } from "../errors.ts";
import { fileFormats, type TensorType } from "./formats.ts";
import { placePlanes, runnableTypes } from "./layout.ts";
import type { PagePart } from "./page.ts";
import { dequantise } from "./reference.ts";

/** Changes when the bytes of a page would; pages stored under another version are fetched again. */
export const PAGE_LAYOUT_VERSION = 1;

/** Writes one file block, or one unit of an unquantised type, into the planes of a page. */
interface Repacker {
  /** Weights per call. */
  readonly weights: number;
  /**
   * `at` is the block's byte position in `source`. `bases[i]` is the byte position in `page` of the block's
   * first unit in plane i; the next unit of the same row lies `rows · plane.bytes` further.
   */
  block(source: DataView, at: number, page: DataView, bases: readonly number[], rows: number): void;
}

/**
 * Writes one part of a page: `source` holds its rows in the file's blocks, `page` is the whole page.
 * A vector becomes F32 whatever it was; a matrix keeps its type and changes its layout.
 */
export function repackPart(part: PagePart, source: Uint8Array, page: Uint8Array): void {
  const { rows, cols, type, stored } = part;
  if (stored !== type) {
    const values = dequantise(type, source, rows * cols);
    repackPart({ ...part, type: "F32" }, new Uint8Array(values.buffer), page);
    return;
  }
  const repacker = repackers[type];
  if (!repacker) {
    throw new SluiceError("unsupported-model", `tensor ${part.tensor} is ${type}, which has no GPU layout`, {
      remedy: `Use a file whose matrices are one of ${runnableTypes.join(", ")}.`,
      details: { tensor: part.tensor, type },
    });
  }
  const from = new DataView(source.buffer, source.byteOffset, source.byteLength);
  const to = new DataView(page.buffer, page.byteOffset, page.byteLength);
  const { planes } = placePlanes(stored, rows, cols);
  const blocks = Math.ceil(cols / repacker.weights);
  const format = fileFormats[type];
  const blockBytes = (repacker.weights / format.block) * format.bytes;
  const rowBytes = (cols / format.block) * format.bytes;
  const bases = planes.map(() => 0);
  for (let row = 0; row < rows; row++) {
    for (let block = 0; block < blocks; block++) {
      planes.forEach((plane, i) => {
        const unit = Math.floor((block * repacker.weights) / plane.weights);
        bases[i] = part.offset + plane.offset + (unit * rows + row) * plane.bytes;
      });
      repacker.block(from, row * rowBytes + block * blockBytes, to, bases, rows);
    }
  }
}

const LOW_NIBBLES = 0x0f0f0f0f;

function copyWords(source: DataView, at: number, page: DataView, to: number, words: number): void {
  for (let i = 0; i < words; i++) page.setUint32(to + 4 * i, source.getUint32(at + 4 * i, true), true);
}

function copyHalf(source: DataView, at: number, page: DataView, to: number): void {
  page.setUint16(to, source.getUint16(at, true), true);
}

/** A plain type in units of 16 bytes; the last unit of a row may be shorter. */
function plain(weights: number, bytesEach: number): Repacker {
  return {
    weights,
    block(source, at, page, [base = 0]) {
      const end = Math.min(at + 16, source.byteLength);
      for (let i = at; i < end; i += bytesEach) {
        if (bytesEach === 4) page.setUint32(base + i - at, source.getUint32(i, true), true);
        else copyHalf(source, i, page, base + i - at);
      }
    },
  };
}

const repackers: Partial<Record<TensorType, Repacker>> = {
  F32: plain(4, 4),
  F16: plain(8, 2),
  Q8_0: {
    weights: 32,
    block(source, at, page, [quants = 0, scales = 0], rows) {
      copyHalf(source, at, page, scales);
      copyWords(source, at + 2, page, quants, 4);
      copyWords(source, at + 18, page, quants + rows * 16, 4);
    },
  },
  Q4_0: {
    weights: 32,
    block(source, at, page, [quants = 0, scales = 0]) {
      copyHalf(source, at, page, scales);
      copyWords(source, at + 2, page, quants, 4);
    },
  },
  Q4_K: {
    weights: 256,
    block(source, at, page, [quants = 0, scales = 0], rows) {
      copyWords(source, at, page, scales, 4);
      // A file chunk of 64 weights has group 2c in the low nibbles of 32 bytes and group 2c + 1 in the high.
      for (let chunk = 0; chunk < 4; chunk++) {
        const even = quants + 2 * chunk * rows * 16;
        const odd = even + rows * 16;
        for (let word = 0; word < 4; word++) {
          const first = source.getUint32(at + 16 + chunk * 32 + word * 4, true);
          const second = source.getUint32(at + 32 + chunk * 32 + word * 4, true);
          page.setUint32(even + word * 4, (first & LOW_NIBBLES) | ((second & LOW_NIBBLES) << 4), true);
          page.setUint32(odd + word * 4, ((first >>> 4) & LOW_NIBBLES) | (second & ~LOW_NIBBLES), true);
        }
      }
    },
  },
  Q6_K: {
    weights: 256,
    block(source, at, page, [quants = 0, high = 0, scales = 0, deltas = 0], rows) {
      copyWords(source, at + 192, page, scales, 4);
      copyHalf(source, at + 208, page, deltas);
      for (let group = 0; group < 8; group++) repackQ6Group(source, at, page, group, quants, high, rows);
    },
  },
};

/** 32 weights of a Q6_K block: group g is quarter g & 3 of the 128-weight half g >> 2. */
function repackQ6Group(
  source: DataView,
  at: number,
  page: DataView,
  group: number,
  quants: number,
  high: number,
  rows: number,
): void {
  const half = group >> 2;
  const quarter = group & 3;
  const low = at + 64 * half + 32 * (quarter & 1);
  const nibbleShift = 4 * (quarter >> 1);
  const upper = at + 128 + 32 * half;
  const lowOut = quants + group * rows * 16;
  const highOut = high + (group >> 1) * rows * 16 + (group & 1) * 8;
  for (let word = 0; word < 4; word++) {
    const first = (source.getUint32(low + word * 4, true) >>> nibbleShift) & LOW_NIBBLES;
    const second = (source.getUint32(low + 16 + word * 4, true) >>> nibbleShift) & LOW_NIBBLES;
    page.setUint32(lowOut + word * 4, first | (second << 4), true);
  }
  for (let h = 0; h < 2; h++) {
    let bits = 0;
    for (let j = 0; j < 4; j++) {
      const word = source.getUint32(upper + 16 * h + 4 * j, true);
      bits |= ((word >>> (2 * quarter)) & 0x03030303) << (2 * j);
    }
    page.setUint32(highOut + 4 * h, bits, true);
  }
}
