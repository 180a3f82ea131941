import { describe, expect, test } from "vitest";
import { SluiceError } from "../../src/errors.ts";
import { halfToFloat } from "../../src/quant/floats.ts";
import { type TensorType, tensorTypeOf } from "../../src/quant/formats.ts";
import { dequantise } from "../../src/quant/reference.ts";
import { exists, fixture, type GoldenBlocks, goldenBlocks, shared } from "../support/golden.ts";

const all = shared("golden/quants/blocks.json");
const hasAll = await exists(all);
const fewBlocks = await goldenBlocks(fixture("blocks.json"));
const allBlocks = hasAll ? await goldenBlocks(all) : [];

const bits = (values: Float32Array<ArrayBuffer>) => new Uint32Array(values.buffer);

function expectBitEqual({ ggmlType, bytes, values }: GoldenBlocks): void {
  const type = tensorTypeOf(ggmlType) as TensorType;
  expect(bits(dequantise(type, bytes, values.length))).toEqual(bits(values));
}

test.each(fewBlocks)("fixture blocks of $name are bit-equal", expectBitEqual);

describe.runIf(hasAll)("every type in the shared folder", () => {
  test.each(allBlocks)("$name is bit-equal", expectBitEqual);
  test("there are all of them", () => expect(allBlocks).toHaveLength(19));
});

test("F32 passes through, at an unaligned offset too", () => {
  const values = Float32Array.of(1.5, -0, Number.MIN_VALUE, 3e38);
  const bytes = new Uint8Array(17);
  bytes.set(new Uint8Array(values.buffer), 1);
  expect(bits(dequantise("F32", bytes.subarray(1), 4))).toEqual(bits(values));
});

test("halfToFloat knows subnormals, infinities and NaN", () => {
  expect([0x0001, 0x03ff, 0x0400, 0x3c00, 0xc000, 0x7bff].map(halfToFloat)).toEqual([
    2 ** -24,
    1023 * 2 ** -24,
    2 ** -14,
    1,
    -2,
    65504,
  ]);
  expect(halfToFloat(0x8000)).toBe(-0);
  expect([halfToFloat(0x7c00), halfToFloat(0xfc00)]).toEqual([Infinity, -Infinity]);
  expect(halfToFloat(0x7e00)).toBeNaN();
});

test("an unknown type, part of a block and missing bytes are refused with their numbers", () => {
  const failure = (run: () => unknown): unknown => {
    try {
      return run();
    } catch (error) {
      return error;
    }
  };
  const unsupported = failure(() => dequantise("IQ2_S", new Uint8Array(82), 256));
  expect(unsupported).toBeInstanceOf(SluiceError);
  expect(unsupported).toMatchObject({ code: "unsupported-model", details: { type: "IQ2_S" } });
  const partial = failure(() => dequantise("Q8_0", new Uint8Array(68), 33));
  expect(partial).toMatchObject({ code: "bad-model-file", details: { count: 33, needed: 68 } });
  const short = failure(() => dequantise("Q8_0", new Uint8Array(33), 32));
  expect(short).toMatchObject({ code: "bad-model-file", details: { needed: 34, available: 33 } });
});
