import { describe, expect, test } from "vitest";
import { SluiceError } from "../../src/errors.ts";
import { halfToFloat } from "../../src/quant/floats.ts";
import { fileBytes, fileFormats, type TensorType } from "../../src/quant/formats.ts";
import { isRunnable, placePlanes, runnableTypes } from "../../src/quant/layout.ts";
import { dequantise } from "../../src/quant/reference.ts";
import { repackPart } from "../../src/quant/repack.ts";
import { seeded } from "../support/random.ts";
import { randomBlocks } from "../support/weight_page.ts";

/** What each plane has for how many weights of a row; 0 for all of the matrix. */
type Units = readonly (readonly [weights: number, bytes: number])[];

/**
 * A second reader of the GPU layout, from its description alone: planes in order, each at a multiple of 16
 * bytes, unit u of row r at index u · rows + r.
 */
class Planes {
  readonly #view: DataView;
  readonly #rows: number;
  readonly #offsets: number[] = [];
  readonly #units: Units;

  constructor(page: Uint8Array, start: number, rows: number, cols: number, units: Units) {
    this.#view = new DataView(page.buffer, page.byteOffset);
    this.#rows = rows;
    this.#units = units;
    let offset = start;
    for (const [weights, bytes] of units) {
      this.#offsets.push(offset);
      const count = weights === 0 ? 1 : Math.ceil(cols / weights) * rows;
      offset = 16 * Math.ceil((offset + count * bytes) / 16);
    }
  }

  /** Byte position in plane `plane` of the unit that holds weight (row, col). */
  at(plane: number, row: number, col: number): number {
    const [weights, bytes] = this.#units[plane] as readonly [number, number];
    const unit = weights === 0 ? 0 : Math.floor(col / weights) * this.#rows + row;
    return (this.#offsets[plane] as number) + unit * bytes;
  }

  byte(plane: number, row: number, col: number, i: number): number {
    return this.#view.getUint8(this.at(plane, row, col) + i);
  }

  signed(plane: number, row: number, col: number, i: number): number {
    return this.#view.getInt8(this.at(plane, row, col) + i);
  }

  half(plane: number, row: number, col: number, i = 0): number {
    return halfToFloat(this.#view.getUint16(this.at(plane, row, col) + 2 * i, true));
  }

  bfloat(plane: number, row: number, col: number, i: number): number {
    const word = new DataView(new ArrayBuffer(4));
    word.setUint16(2, this.#view.getUint16(this.at(plane, row, col) + 2 * i, true), true);
    return word.getFloat32(0, true);
  }

  float(plane: number, row: number, col: number, i: number): number {
    return this.#view.getFloat32(this.at(plane, row, col) + 4 * i, true);
  }

  /** 4 bits: of 32 weights, 0 to 15 low and 16 to 31 high. */
  nibble(row: number, col: number): number {
    const i = col % 32;
    return (this.byte(0, row, col, i % 16) >> (i < 16 ? 0 : 4)) & 15;
  }

  /** 1 bit: of 32 weights, 4j + c in byte c at bit j. */
  bit(plane: number, row: number, col: number): number {
    const i = col % 32;
    return (this.byte(plane, row, col, i % 4) >> Math.floor(i / 4)) & 1;
  }

  /** 2 bits: of 64 weights, 16h + 4j + c in byte 4h + c at bit 2j. */
  pair(plane: number, row: number, col: number): number {
    const i = col % 64;
    return (
      (this.byte(plane, row, col, 4 * Math.floor(i / 16) + (i % 4)) >> (2 * (Math.floor(i / 4) % 4))) & 3
    );
  }
}

interface Reader {
  readonly units: Units;
  weight(planes: Planes, row: number, col: number): number;
}

/** Six bits whose lower four are a nibble. */
const six = (low: number, high: number) => (low & 15) | ((high & 3) << 4);

/** Q4_K and Q5_K: the quant, and the plane of d, dmin and the file's 12 bytes of 6-bit scales and minima. */
function withMinima(head: number, quant: (p: Planes, row: number, col: number) => number): Reader["weight"] {
  return (p, row, col) => {
    const group = Math.floor((col % 256) / 32);
    // Groups 0 to 3 have 6 bits in a byte; 4 to 7 are spread over two.
    const byte = (i: number) => p.byte(head, row, col, 4 + i);
    const scale = group < 4 ? byte(group) & 63 : six(byte(group + 4), byte(group - 4) >> 6);
    const least = group < 4 ? byte(group + 4) & 63 : six(byte(group + 4) >> 4, byte(group) >> 6);
    return p.half(head, row, col, 0) * scale * quant(p, row, col) - p.half(head, row, col, 1) * least;
  };
}

const iq4Level = (index: number): number =>
  [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113][index] as number;

/** A base-3 digit of a byte, by division: the byte is the fraction's 256ths, rounded up. */
const digitOf = (byte: number, digit: number) => Math.floor((byte * 3 ** (digit + 1)) / 256) % 3;

const readers: Partial<Record<TensorType, Reader>> = {
  F32: { units: [[4, 16]], weight: (p, row, col) => p.float(0, row, col, col % 4) },
  F16: { units: [[8, 16]], weight: (p, row, col) => p.half(0, row, col, col % 8) },
  BF16: { units: [[8, 16]], weight: (p, row, col) => p.bfloat(0, row, col, col % 8) },
  Q8_0: {
    units: [
      [16, 16],
      [32, 2],
    ],
    weight: (p, row, col) => p.half(1, row, col) * p.signed(0, row, col, col % 16),
  },
  Q4_0: {
    units: [
      [32, 16],
      [32, 2],
    ],
    weight: (p, row, col) => p.half(1, row, col) * (p.nibble(row, col) - 8),
  },
  Q4_1: {
    units: [
      [32, 16],
      [32, 4],
    ],
    weight: (p, row, col) => p.half(1, row, col) * p.nibble(row, col) + p.half(1, row, col, 1),
  },
  Q5_0: {
    units: [
      [32, 16],
      [32, 4],
      [32, 2],
    ],
    weight: (p, row, col) => p.half(2, row, col) * (p.nibble(row, col) + 16 * p.bit(1, row, col) - 16),
  },
  Q5_1: {
    units: [
      [32, 16],
      [32, 4],
      [32, 4],
    ],
    weight: (p, row, col) =>
      p.half(2, row, col) * (p.nibble(row, col) + 16 * p.bit(1, row, col)) + p.half(2, row, col, 1),
  },
  Q2_K: {
    units: [
      [64, 16],
      [256, 16],
      [256, 4],
    ],
    weight(p, row, col) {
      const scales = p.byte(1, row, col, Math.floor((col % 256) / 16));
      const scaled = p.half(2, row, col) * (scales & 15) * p.pair(0, row, col);
      return scaled - p.half(2, row, col, 1) * (scales >> 4);
    },
  },
  Q3_K: {
    units: [
      [64, 16],
      [32, 4],
      [256, 16],
    ],
    weight(p, row, col) {
      const g = Math.floor((col % 256) / 16);
      const byte = (i: number) => p.byte(2, row, col, i);
      const scale = six(byte(g % 8) >> (g < 8 ? 0 : 4), byte(8 + (g % 4)) >> (2 * Math.floor(g / 4))) - 32;
      return p.half(2, row, col, 6) * scale * (p.pair(0, row, col) + 4 * p.bit(1, row, col) - 4);
    },
  },
  Q4_K: {
    units: [
      [32, 16],
      [256, 16],
    ],
    weight: withMinima(1, (p, row, col) => p.nibble(row, col)),
  },
  Q5_K: {
    units: [
      [32, 16],
      [32, 4],
      [256, 16],
    ],
    weight: withMinima(2, (p, row, col) => p.nibble(row, col) + 16 * p.bit(1, row, col)),
  },
  Q6_K: {
    units: [
      [32, 16],
      [64, 16],
      [256, 16],
      [256, 2],
    ],
    weight(p, row, col) {
      const quant = p.nibble(row, col) + 16 * p.pair(1, row, col) - 32;
      return p.half(3, row, col) * p.signed(2, row, col, Math.floor((col % 256) / 16)) * quant;
    },
  },
  IQ4_NL: {
    units: [
      [32, 16],
      [32, 2],
    ],
    weight: (p, row, col) => p.half(1, row, col) * iq4Level(p.nibble(row, col)),
  },
  IQ4_XS: {
    units: [
      [32, 16],
      [256, 8],
    ],
    weight(p, row, col) {
      const g = Math.floor((col % 256) / 32);
      const low = p.byte(1, row, col, 4 + Math.floor(g / 2)) >> (4 * (g % 2));
      const high = p.byte(1, row, col, 2 + Math.floor(g / 4)) >> (2 * (g % 4));
      return p.half(1, row, col) * (six(low, high) - 32) * iq4Level(p.nibble(row, col));
    },
  },
  IQ3_S: {
    units: [
      [0, 1024],
      [64, 16],
      [32, 4],
      [256, 16],
    ],
    weight(p, row, col) {
      const [i, j] = [col % 256, Math.floor((col % 256) / 4)];
      const ninth = (p.byte(3, row, col, Math.floor(j / 8)) >> (j % 8)) & 1;
      const at = 2 * (p.byte(1, row, col, j % 16) + 256 * ninth);
      const entry = p.byte(0, row, col, at) + 256 * p.byte(0, row, col, at + 1);
      const level = 2 * (Math.floor(entry / 8 ** (i % 4)) % 8) + 1;
      const scale = (p.byte(3, row, col, 8 + Math.floor(i / 64)) >> (4 * (Math.floor(i / 32) % 2))) & 15;
      return p.half(3, row, col, 6) * (2 * scale + 1) * (p.bit(2, row, col) === 1 ? -level : level);
    },
  },
  MXFP4: {
    units: [
      [32, 16],
      [32, 1],
    ],
    weight(p, row, col) {
      const code = p.nibble(row, col);
      const exponent = (code >> 1) & 3;
      const size = exponent === 0 ? (code & 1) / 2 : (1 + (code & 1) / 2) * 2 ** (exponent - 1);
      return (code < 8 ? size : -size) * 2 ** (p.byte(1, row, col, 0) - 127);
    },
  },
  TQ1_0: {
    units: [
      [256, 16],
      [256, 16],
      [256, 16],
      [256, 4],
      [256, 2],
    ],
    weight(p, row, col) {
      const i = col % 256;
      const at = (plane: number, byte: number, digit: number) =>
        digitOf(p.byte(plane, row, col, byte), digit);
      const j = i - 160;
      const q =
        i < 160
          ? at((i >> 4) & 1, i % 16, i >> 5)
          : i < 240
            ? at(2, j % 16, Math.floor(j / 16))
            : at(3, i % 4, Math.floor((i - 240) / 4));
      return p.half(4, row, col) * (q - 1);
    },
  },
  TQ2_0: {
    units: [
      [64, 16],
      [256, 2],
    ],
    weight: (p, row, col) => p.half(1, row, col) * (p.pair(0, row, col) - 1),
  },
  Q1_0: {
    units: [
      [32, 4],
      [128, 2],
    ],
    weight: (p, row, col) => p.half(1, row, col) * (p.bit(0, row, col) === 1 ? 1 : -1),
  },
};

const START = 512;
const GUARD = 0xa5;

function repacked(
  type: TensorType,
  rows: number,
  cols: number,
  source: Uint8Array,
  stored = type,
): Uint8Array {
  const { bytes } = placePlanes(stored, rows, cols);
  const page = new Uint8Array(START + bytes + 64).fill(GUARD);
  const part = { tensor: "w", type, stored, rows, cols, offset: START, bytes };
  repackPart({ ...part, source: { offset: 0, bytes: source.length } }, source, page);
  for (const byte of page.subarray(0, START)) expect(byte).toBe(GUARD);
  for (const byte of page.subarray(START + bytes)) expect(byte).toBe(GUARD);
  return page;
}

test("every type that runs has a reader here", () => {
  expect(Object.keys(readers)).toEqual(runnableTypes);
  expect(isRunnable("Q8_K")).toBe(false);
});

/** Bytes of units that hold nothing, in 256 weights, and of tables. */
const unusedBytes: Partial<Record<TensorType, number>> = { Q3_K: 2, IQ3_S: 2 };
const tableBytes: Partial<Record<TensorType, number>> = { IQ3_S: 1024 };

describe.each(Object.entries(readers) as [TensorType, Reader][])("%s", (type, { units, weight }) => {
  const shapes: [rows: number, cols: number][] = [
    [1, 256],
    [3, 512],
    [5, 256],
    [16, 768],
  ];
  // Planes that fill no whole number of vectors.
  if (fileFormats[type].block <= 32) shapes.push([5, 96]);

  test.each(shapes)("%i rows of %i", (rows, cols) => {
    const source = randomBlocks(seeded(rows + cols), type, rows * cols);
    const page = repacked(type, rows, cols, source);
    const planes = new Planes(page, START, rows, cols, units);
    const expected = dequantise(type, source, rows * cols);
    for (let row = 0; row < rows; row++) {
      for (let col = 0; col < cols; col++) {
        const value = expected[row * cols + col] as number;
        // dequantise rounds to f32 on the way.
        const slack = 1e-5 * Math.max(Math.abs(value), 1e-3);
        expect(Math.abs(weight(planes, row, col) - value), `${row}, ${col}`).toBeLessThanOrEqual(slack);
      }
    }
  });

  test("planes as described: in order, aligned, no larger than their units", () => {
    const [rows, cols] = [3, 512];
    const { planes, bytes } = placePlanes(type, rows, cols);
    const expected = new Planes(new Uint8Array(), 0, rows, cols, units);
    expect(planes.map(({ offset }) => offset)).toEqual(units.map((_, i) => expected.at(i, 0, 0)));
    expect(planes.map(({ weights, bytes }) => [weights, bytes])).toEqual(units);
    expect(bytes % 16).toBe(0);
    const unused = ((unusedBytes[type] ?? 0) * rows * cols) / 256;
    expect(bytes - fileBytes(type, rows * cols) - unused - (tableBytes[type] ?? 0)).toBeLessThan(
      16 * units.length,
    );
  });
});

test.each([1, 3, 5, 128])("a vector of %i floats keeps its order, whatever it was stored as", (length) => {
  const halves = randomBlocks(seeded(length), "F16", length);
  const page = repacked("F16", 1, length, halves, "F32");
  expect(new Float32Array(page.buffer, START, length)).toEqual(dequantise("F16", halves, length));
  const floats = randomBlocks(seeded(length), "F32", length);
  expect(new Uint8Array(repacked("F32", 1, length, floats).buffer, START, 4 * length)).toEqual(floats);
});

test("a type without a layout is refused by name", () => {
  const source = new Uint8Array(82);
  const part = {
    tensor: "w",
    type: "IQ2_S",
    stored: "IQ2_S",
    rows: 1,
    cols: 256,
    offset: 0,
    bytes: 0,
  } as const;
  const run = () => repackPart({ ...part, source: { offset: 0, bytes: 82 } }, source, new Uint8Array(16));
  expect(run).toThrow(SluiceError);
  expect(run).toThrow(/IQ2_S/);
});
