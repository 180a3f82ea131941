import { describe, expect, test } from "vitest";
import { SluiceError } from "../../src/errors.ts";
import { fileBytes, type TensorType } from "../../src/quant/formats.ts";
import { isRunnable, placePlanes, runnableTypes } from "../../src/quant/layout.ts";
import { dequantise, halfToFloat } from "../../src/quant/reference.ts";
import { repackPart } from "../../src/quant/repack.ts";
import { seeded } from "../support/random.ts";
import { randomBlocks } from "../support/weight_page.ts";

/** What each plane has for how many weights of a row. */
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
      offset = 16 * Math.ceil((offset + Math.ceil(cols / weights) * rows * bytes) / 16);
    }
  }

  /** Byte position in plane `plane` of the unit that holds weight (row, col). */
  at(plane: number, row: number, col: number): number {
    const [weights, bytes] = this.#units[plane] as readonly [number, number];
    return (this.#offsets[plane] as number) + (Math.floor(col / weights) * this.#rows + row) * bytes;
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

  float(plane: number, row: number, col: number, i: number): number {
    return this.#view.getFloat32(this.at(plane, row, col) + 4 * i, true);
  }

  /** 4 bits: of 32 weights, 0 to 15 low and 16 to 31 high. */
  nibble(row: number, col: number): number {
    const i = col % 32;
    return (this.byte(0, row, col, i % 16) >> (i < 16 ? 0 : 4)) & 15;
  }
}

interface Reader {
  readonly units: Units;
  weight(planes: Planes, row: number, col: number): number;
}

const readers: Partial<Record<TensorType, Reader>> = {
  F32: { units: [[4, 16]], weight: (p, row, col) => p.float(0, row, col, col % 4) },
  F16: { units: [[8, 16]], weight: (p, row, col) => p.half(0, row, col, col % 8) },
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
  Q4_K: {
    units: [
      [32, 16],
      [256, 16],
    ],
    weight(p, row, col) {
      const group = Math.floor((col % 256) / 32);
      // The file's 12 bytes: groups 0 to 3 have 6 bits in a byte; 4 to 7 are spread over two.
      const six = (i: number) => p.byte(1, row, col, 4 + i);
      const upper = (i: number) => (six(i) >> 6) << 4;
      const scale = group < 4 ? six(group) & 63 : (six(group + 4) & 15) | upper(group - 4);
      const least = group < 4 ? six(group + 4) & 63 : (six(group + 4) >> 4) | upper(group);
      return p.half(1, row, col, 0) * scale * p.nibble(row, col) - p.half(1, row, col, 1) * least;
    },
  },
  Q6_K: {
    units: [
      [32, 16],
      [64, 16],
      [256, 16],
      [256, 2],
    ],
    weight(p, row, col) {
      const i = col % 64;
      const bits = p.byte(1, row, col, 4 * Math.floor(i / 16) + (i % 4)) >> (2 * (Math.floor(i / 4) % 4));
      const quant = p.nibble(row, col) + 16 * (bits & 3) - 32;
      return p.half(3, row, col) * p.signed(2, row, col, Math.floor((col % 256) / 16)) * quant;
    },
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
  expect(isRunnable("Q2_K")).toBe(false);
});

describe.each(Object.entries(readers) as [TensorType, Reader][])("%s", (type, { units, weight }) => {
  test.each([
    [1, 256],
    [3, 512],
    [5, 256],
    [16, 768],
  ])("%i rows of %i", (rows, cols) => {
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
    expect(bytes - fileBytes(type, rows * cols)).toBeLessThan(16 * units.length);
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
  const source = new Uint8Array(84);
  const part = {
    tensor: "w",
    type: "Q2_K",
    stored: "Q2_K",
    rows: 1,
    cols: 256,
    offset: 0,
    bytes: 0,
  } as const;
  const run = () => repackPart({ ...part, source: { offset: 0, bytes: 84 } }, source, new Uint8Array(16));
  expect(run).toThrow(SluiceError);
  expect(run).toThrow(/Q2_K/);
});
