import { SluiceError } from "../errors.ts";
import { floatsOf, isFloat } from "./floats.ts";
import { fileFormats, type TensorType } from "./formats.ts";
import { iq3Grid } from "./iq3_grid.ts";
import { placePlanes, runnableTypes } from "./layout.ts";
import type { Gather, PagePart } from "./page.ts";
import { requantise } from "./quantise.ts";

/** Changes when the bytes of a page would; pages stored under another version are fetched again. */
export const PAGE_LAYOUT_VERSION = 1;

/**
 * Writes what one file block has for a plane. `at` is the block's byte position in `source`, `to` that of its first
 * unit in `page`; the next unit of the same row lies `rows` units further.
 */
type Move = (source: DataView, at: number, page: DataView, to: number, rows: number) => void;

interface Repacker {
  /** Weights per call: a file block, or one unit of an unquantised type. */
  readonly weights: number;
  /** One for each plane. */
  readonly moves: readonly Move[];
}

/**
 * Writes one part of a page: `source` holds its rows in the file's blocks, or the weights that it gathers, `page` is the
 * whole page. A vector becomes F32 whatever it was; a matrix keeps its type, or is quantised, and changes its layout.
 */
export function repackPart(part: PagePart, source: Uint8Array, page: Uint8Array): void {
  const { rows, cols, type, stored, gather } = part;
  const repacker = repackers[stored];
  if (!repacker) {
    throw new SluiceError("unsupported-model", `tensor ${part.tensor} is ${type}, which has no GPU layout`, {
      remedy: `Use a file whose matrices are one of ${runnableTypes.join(", ")}.`,
      details: { tensor: part.tensor, type },
    });
  }
  const to = new DataView(page.buffer, page.byteOffset, page.byteLength);
  const write = rowWriter(part, repacker, to);
  const fileRow = (cols / fileFormats[type].block) * fileFormats[type].bytes;
  if (stored === type && !gather) {
    const from = viewOf(source);
    for (let row = 0; row < rows; row++) write(from, row * fileRow, row);
    return;
  }
  const rowBytes = (cols / fileFormats[stored].block) * fileFormats[stored].bytes;
  const gathered = new Uint8Array(gather ? fileRow : 0);
  const converted = viewOf(new Uint8Array(rowBytes));
  for (let row = 0; row < rows; row++) {
    if (gather) gatherRow(source, gather, row, fileRow / cols, gathered);
    const raw = gather ? gathered : source.subarray(row * fileRow, (row + 1) * fileRow);
    if (stored === type) write(viewOf(raw), 0, row);
    else if (stored === "F32" && isFloat(type)) write(viewOf(floatsOf(type, raw, cols)), 0, row);
    else {
      requantise(type, raw, cols, stored, converted);
      write(converted, 0, row);
    }
  }
}

function viewOf({ buffer, byteOffset, byteLength }: ArrayBufferView): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}

/** Writes a row, whose blocks of the stored type start at byte `at` of `from`, into the planes of the part. */
function rowWriter({ rows, cols, stored, offset }: PagePart, { weights, moves }: Repacker, page: DataView) {
  const format = fileFormats[stored];
  const blocks = Math.ceil(cols / weights);
  const blockBytes = (weights / format.block) * format.bytes;
  const planes = placePlanes(stored, rows, cols).planes.map((plane, i) => ({
    move: moves[i] as Move,
    isTable: plane.weights === 0,
    start: offset + plane.offset,
    bytes: plane.bytes,
    stride: (weights / plane.weights) * rows * plane.bytes,
  }));
  return (from: DataView, at: number, row: number) => {
    for (const { move, isTable, start, bytes, stride } of planes) {
      if (isTable) {
        if (row === 0) move(from, at, page, start, rows);
        continue;
      }
      const to = start + row * bytes;
      for (let block = 0; block < blocks; block++) {
        move(from, at + block * blockBytes, page, to + block * stride, rows);
      }
    }
  };
}

/** Picks the weights of a row, `bytes` bytes each, out of where they lie. */
function gatherRow(
  source: Uint8Array,
  { first, row, col }: Gather,
  r: number,
  bytes: number,
  out: Uint8Array,
) {
  let from = (first + r * row) * bytes;
  for (let at = 0; at < out.length; at += bytes) {
    for (let i = 0; i < bytes; i++) out[at + i] = source[from + i] as number;
    from += col * bytes;
  }
}

const LOW_NIBBLES = 0x0f0f0f0f;
const LOW_PAIRS = 0x03030303;
const LOW_BITS = 0x01010101;

/** `bytes` bytes from byte `from` of the block, as `units` consecutive units. */
function copy(from: number, bytes: number, units = 1): Move {
  return (source, at, page, to, rows) => {
    for (let unit = 0; unit < units; unit++) {
      const start = at + from + unit * bytes;
      const end = to + unit * rows * bytes;
      let i = 0;
      for (; i + 4 <= bytes; i += 4) page.setUint32(end + i, source.getUint32(start + i, true), true);
      for (; i < bytes; i++) page.setUint8(end + i, source.getUint8(start + i));
    }
  };
}

/** Pieces of the block put together: their bytes and where they are. */
function join(...pieces: readonly (readonly [from: number, bytes: number])[]): Move {
  const moves = pieces.map(([from, bytes]) => ({ move: copy(from, bytes), bytes }));
  return (source, at, page, to, rows) => {
    let end = to;
    for (const { move, bytes } of moves) {
      move(source, at, page, end, rows);
      end += bytes;
    }
  };
}

/** 16 bytes of a plain type; the last of a part may be fewer. */
const copyPlain: Move = (source, at, page, to) => {
  const bytes = Math.min(16, source.byteLength - at);
  let i = 0;
  for (; i + 4 <= bytes; i += 4) page.setUint32(to + i, source.getUint32(at + i, true), true);
  if (i < bytes) page.setUint16(to + i, source.getUint16(at + i, true), true);
};

/** 32 bytes, four times: the low nibbles are one group of 32 weights, the high nibbles the group `apart` further. */
function nibbles(from: number, apart: 1 | 2): Move {
  return (source, at, page, to, rows) => {
    for (let chunk = 0; chunk < 4; chunk++) {
      const group = apart === 1 ? 2 * chunk : 4 * (chunk >> 1) + (chunk & 1);
      const low = to + group * rows * 16;
      const high = low + apart * rows * 16;
      const start = at + from + chunk * 32;
      for (let word = 0; word < 16; word += 4) {
        const first = source.getUint32(start + word, true);
        const second = source.getUint32(start + 16 + word, true);
        page.setUint32(low + word, (first & LOW_NIBBLES) | ((second & LOW_NIBBLES) << 4), true);
        page.setUint32(high + word, ((first >>> 4) & LOW_NIBBLES) | (second & ~LOW_NIBBLES), true);
      }
    }
  };
}

/** 32 bytes, twice: each bit pair of a byte belongs to another of four groups of 32 weights. */
function bitPairs(from: number): Move {
  return (source, at, page, to, rows) => {
    for (let part = 0; part < 4; part++) {
      const start = at + from + 16 * part;
      const a = source.getUint32(start, true);
      const b = source.getUint32(start + 4, true);
      const c = source.getUint32(start + 8, true);
      const d = source.getUint32(start + 12, true);
      // The first 16 weights of these groups, or the last.
      const half = to + (part >> 1) * 2 * rows * 16 + (part & 1) * 4;
      for (let group = 0; group < 4; group++) {
        const shift = 2 * group;
        const bits =
          ((a >>> shift) & LOW_PAIRS) |
          (((b >>> shift) & LOW_PAIRS) << 2) |
          (((c >>> shift) & LOW_PAIRS) << 4) |
          (((d >>> shift) & LOW_PAIRS) << 6);
        page.setUint32(half + (group >> 1) * rows * 16 + (group & 1) * 8, bits, true);
      }
    }
  };
}

/** 256 weights in 32 bytes, each bit of a byte in another run of 32 weights. */
function bitPlanes(from: number): Move {
  return (source, at, page, to, rows) => {
    for (let group = 0; group < 8; group++) {
      let bits = 0;
      for (let j = 0; j < 8; j++) {
        bits |= ((source.getUint32(at + from + 4 * j, true) >>> group) & LOW_BITS) << j;
      }
      page.setUint32(to + group * rows * 4, bits, true);
    }
  };
}

/** Bits in the order of the weights, in units of 32. */
function bitString(from: number, units = 1): Move {
  return (source, at, page, to, rows) => {
    for (let unit = 0; unit < units; unit++) {
      const string = source.getUint32(at + from + 4 * unit, true);
      let bits = 0;
      // A nibble's four bits, each to the lowest of a byte.
      for (let j = 0; j < 8; j++) bits |= ((((string >>> (4 * j)) & 15) * 0x00204081) & LOW_BITS) << j;
      page.setUint32(to + unit * rows * 4, bits, true);
    }
  };
}

const table =
  (halves: readonly number[]): Move =>
  (_source, _at, page, to) => {
    for (const [i, half] of halves.entries()) page.setUint16(to + 2 * i, half, true);
  };

const repackers: Partial<Record<TensorType, Repacker>> = {
  F32: { weights: 4, moves: [copyPlain] },
  F16: { weights: 8, moves: [copyPlain] },
  BF16: { weights: 8, moves: [copyPlain] },
  Q8_0: { weights: 32, moves: [copy(2, 16, 2), copy(0, 2)] },
  Q4_0: { weights: 32, moves: [copy(2, 16), copy(0, 2)] },
  Q4_1: { weights: 32, moves: [copy(4, 16), copy(0, 4)] },
  Q5_0: { weights: 32, moves: [copy(6, 16), bitString(2), copy(0, 2)] },
  Q5_1: { weights: 32, moves: [copy(8, 16), bitString(4), copy(0, 4)] },
  Q2_K: { weights: 256, moves: [bitPairs(16), copy(0, 16), copy(80, 4)] },
  Q3_K: { weights: 256, moves: [bitPairs(32), bitPlanes(0), copy(96, 14)] },
  Q4_K: { weights: 256, moves: [nibbles(16, 1), copy(0, 16)] },
  Q5_K: { weights: 256, moves: [nibbles(48, 1), bitPlanes(16), copy(0, 16)] },
  Q6_K: { weights: 256, moves: [nibbles(0, 2), bitPairs(128), copy(192, 16), copy(208, 2)] },
  IQ4_NL: { weights: 32, moves: [copy(2, 16), copy(0, 2)] },
  IQ4_XS: { weights: 256, moves: [copy(8, 16, 8), copy(0, 8)] },
  IQ3_S: {
    weights: 256,
    moves: [table(iq3Grid), copy(2, 16, 4), bitString(74, 8), join([66, 8], [106, 4], [0, 2])],
  },
  MXFP4: { weights: 32, moves: [copy(1, 16), copy(0, 1)] },
  TQ1_0: { weights: 256, moves: [copy(0, 16), copy(16, 16), copy(32, 16), copy(48, 4), copy(52, 2)] },
  TQ2_0: { weights: 256, moves: [bitPairs(0), copy(64, 2)] },
  Q1_0: { weights: 128, moves: [bitString(2, 4), copy(0, 2)] },
};
