import { describe, expect, test } from "vitest";
import { floatsOf, halfToFloat } from "../../src/quant/floats.ts";
import { fileBytes, type TensorType } from "../../src/quant/formats.ts";
import { placePlanes } from "../../src/quant/layout.ts";
import type { PagePart } from "../../src/quant/page.ts";
import { floatToHalf, requantise } from "../../src/quant/quantise.ts";
import { dequantise } from "../../src/quant/reference.ts";
import { repackPart } from "../../src/quant/repack.ts";
import type { ModelFile, TensorInfo } from "../../src/source/model_file.ts";
import { headerOf } from "../model/plan_file.ts";
import { exists, fixture, goldenBlocks, readBytes, shared } from "../support/golden.ts";
import { seeded } from "../support/random.ts";

type Form = "Q8_0" | "Q4_0";
const FORMS: readonly Form[] = ["Q8_0", "Q4_0"];

function quantise(type: Form, values: Float32Array): Uint8Array<ArrayBuffer> {
  const blocks = new Uint8Array(fileBytes(type, values.length));
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  requantise("F32", bytes, values.length, type, new DataView(blocks.buffer));
  return blocks;
}

test("halves: every one comes back, and what lies between two goes to the nearer, ties to even", () => {
  for (let bits = 0; bits < 0x7c00; bits++) {
    const [value, next] = [halfToFloat(bits), halfToFloat(bits + 1)];
    if (floatToHalf(value) !== bits || floatToHalf(-value) !== (bits | 0x8000)) expect(bits).toBe("itself");
    if (!Number.isFinite(next)) continue;
    // Between neighbours of a half an f32 has their middle and more.
    const middle = (value + next) / 2;
    if (floatToHalf(middle) !== bits + (bits & 1)) expect(`middle above ${bits}`).toBe("even");
    if (floatToHalf(value + (next - value) * 0.49) !== bits)
      expect(`below the middle above ${bits}`).toBe("down");
    if (floatToHalf(value + (next - value) * 0.51) !== bits + 1)
      expect(`above the middle of ${bits}`).toBe("up");
  }
  expect([65519, 65520, Infinity, -Infinity].map(floatToHalf)).toEqual([0x7bff, 0x7c00, 0x7c00, 0xfc00]);
  expect(floatToHalf(Number.NaN) & 0x7fff).toBeGreaterThan(0x7c00);
});

describe("by hand", () => {
  test("Q8_0: the largest magnitude is 127, halves go away from zero", () => {
    const row = new Float32Array(32);
    row.set([127, -127, 0.5, -0.5, 1.5, -2.5, 0.49, 126.4]);
    const blocks = quantise("Q8_0", row);
    expect(halfToFloat(new DataView(blocks.buffer).getUint16(0, true))).toBe(1);
    expect([...new Int8Array(blocks.buffer, 2, 9)]).toEqual([127, -127, 1, -1, 2, -3, 0, 126, 0]);
  });

  test("Q4_0: the weight of the largest magnitude is -8, whatever its sign; 8 does not exist", () => {
    for (const sign of [1, -1]) {
      const row = new Float32Array(32);
      row.set([-8, 8, 7, 0.5, -0.5, 1.4].map((value) => sign * value));
      row[16] = sign * 3;
      const blocks = quantise("Q4_0", row);
      expect(halfToFloat(new DataView(blocks.buffer).getUint16(0, true))).toBe(sign);
      const [first, ...low] = [...blocks.subarray(2, 8)];
      expect(first).toBe((11 << 4) | 0);
      expect(low.map((byte) => byte & 15)).toEqual([15, 15, 9, 8, 9]);
    }
  });

  test.each(FORMS)("%s: zeros are zeros", (type) => {
    const back = dequantise(type, quantise(type, new Float32Array(64)), 64);
    expect([...back.map(Math.abs)]).toEqual(Array(64).fill(0));
  });
});

test("blocks that ggml made come back from the floats they stand for, bit for bit", async () => {
  const golden = await goldenBlocks(fixture("blocks.json"));
  for (const type of FORMS) {
    const found = golden.find(({ name }) => name === type.toLowerCase());
    if (!found) throw new Error(`no blocks of ${type}`);
    expect(quantise(type, found.values), type).toEqual(found.bytes);
  }
});

test.each(["F16", "BF16", "F32"] as const)("%s is read as the reference reads it", (type) => {
  const random = seeded(5);
  const bytes = Uint8Array.from({ length: 64 * (type === "F32" ? 4 : 2) }, () => Math.floor(random() * 256));
  // No infinities and not-a-numbers, which are equal to nothing.
  for (let i = 1; i < bytes.length; i += 2) bytes[i] = (bytes[i] as number) & 0xbb;
  const count = bytes.length / (type === "F32" ? 4 : 2);
  expect(floatsOf(type, bytes, count)).toEqual(dequantise(type, bytes, count));
});

const source = shared("golden/quants/F16.gguf");
const isShared = await exists(source);

describe.runIf(isShared)("as ggml quantises a whole model", () => {
  const tensorsOf = (file: ModelFile) => new Map(file.tensors.map((tensor) => [tensor.name, tensor]));
  const bytesOf = (file: Uint8Array, { offset, bytes }: TensorInfo) => file.subarray(offset, offset + bytes);

  test.each(FORMS)("%s", async (type) => {
    const target = shared(`golden/quants/${type}.gguf`);
    const [from, to] = [await headerOf(source), await headerOf(target)];
    const [fromBytes, toBytes] = [await readBytes(source), await readBytes(target)];
    const originals = tensorsOf(from);
    let compared = 0;
    for (const tensor of to.tensors) {
      const original = originals.get(tensor.name) as TensorInfo;
      if (tensor.type !== type) continue;
      const count = tensor.shape.reduce((all, n) => all * n, 1);
      const blocks = quantise(type, dequantise(original.type, bytesOf(fromBytes, original), count));
      expect(Buffer.compare(blocks, bytesOf(toBytes, tensor)), tensor.name).toBe(0);
      compared++;
    }
    expect(compared).toBeGreaterThan(10);
  });
});

describe("a page part that is quantised on the way", () => {
  const part = (type: TensorType, stored: TensorType, rows: number, cols: number, more = {}): PagePart => ({
    ...{ tensor: "m", type, stored, rows, cols, offset: 256, source: { offset: 0, bytes: 0 } },
    bytes: placePlanes(stored, rows, cols).bytes,
    ...more,
  });
  const page = (of: PagePart, source: Uint8Array) => {
    const bytes = new Uint8Array(of.offset + of.bytes);
    repackPart(of, source, bytes);
    return bytes;
  };
  const [rows, cols] = [5, 96];
  const random = seeded(9);
  const values = Float32Array.from({ length: rows * cols }, () => random() - 0.5);
  const floats = new Uint8Array(values.buffer);

  test.each(FORMS)("F32 to %s is the page of the quantised matrix", (type) => {
    const expected = page(part(type, type, rows, cols), quantise(type, values));
    expect(page(part("F32", type, rows, cols), floats)).toEqual(expected);
  });

  test.each(["F32", "Q8_0"] as const)("columns by turns, stored as %s", (stored) => {
    // [cols, 2 · rows], of which the matrix has every second column.
    const all = Float32Array.from({ length: 2 * rows * cols }, () => random() - 0.5);
    const picked = new Float32Array(rows * cols);
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < cols; c++) picked[r * cols + c] = all[c * 2 * rows + 2 * r + 1] as number;
    }
    const gather = { first: 1, row: 2, col: 2 * rows };
    const gathered = page(part("F32", stored, rows, cols, { gather }), new Uint8Array(all.buffer));
    expect(gathered).toEqual(page(part("F32", stored, rows, cols), new Uint8Array(picked.buffer)));
  });
});
