import { describe, expect, test } from "vitest";
import type { Pointwise } from "../../src/kernels/activation.ts";
import { matmul } from "../../src/kernels/matmul.ts";
import type { MatrixPiece } from "../../src/kernels/matrix.ts";
import type { TensorType } from "../../src/quant/formats.ts";
import { runnableTypes } from "../../src/quant/layout.ts";
import { activate, matmul as reference } from "../reference/index.ts";
import {
  expectClose,
  guarded,
  onGpu,
  outputFloats,
  poisoned,
  runSteps,
  storage,
  TILE,
} from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";
import { WeightPage } from "../support/weight_page.ts";

/** A dot of n products in f32, added in chunks: the roundings of a few hundred terms, at random signs. */
const TOLERANCE = 5e-7;

interface Part {
  readonly type: TensorType;
  readonly rows: number;
  /** Which buffer it lies in. */
  readonly page?: number;
  readonly bias?: boolean;
  readonly scale?: number;
}

interface Case {
  readonly parts: readonly Part[];
  readonly cols: number;
  readonly tokens: number;
  readonly tile: number;
  readonly add?: boolean;
  readonly activation?: Pointwise;
}

onGpu(
  "matmul",
  (gpu) => {
    async function multiplied({ parts, cols, tokens, tile, add = false, activation }: Case) {
      const random = seeded(cols + tokens);
      const rows = parts.reduce((sum, part) => sum + part.rows, 0);
      const padded = Math.ceil(tokens / tile) * tile;
      const x = normals(random, padded * cols).fill(Number.NaN, tokens * cols);
      const residual = normals(random, tokens * rows, 3);
      const pages = parts.map(() => new WeightPage(random));
      const expected = add ? Float64Array.from(residual) : new Float64Array(tokens * rows);
      let out = 0;
      const pieces = parts.map((part) => {
        const page = pages[part.page ?? 0] as WeightPage;
        const { type, base, values } = page.matrix(part.type, part.rows, cols);
        const bias = part.bias ? normals(random, part.rows, 10) : undefined;
        const scale = part.scale === undefined ? undefined : Math.fround(part.scale);
        const y = reference(x.subarray(0, tokens * cols), { values, rows: part.rows, cols, bias, scale });
        y.forEach((value, i) => {
          const at = Math.floor(i / part.rows) * rows + out + (i % part.rows);
          expected[at] = (expected[at] as number) + value;
        });
        out += part.rows;
        return {
          ...{ type, base, rows: part.rows, cols },
          ...(bias && { bias: page.floats(bias) }),
          ...(scale !== undefined && { scale: page.floats(Float32Array.of(scale)) }),
        };
      });
      const buffers = pages.map((page, i) => storage(gpu(), `page ${i}`, page.bytes()));
      const matrices = pieces.map((piece, i): MatrixPiece => {
        return { ...piece, buffer: buffers[parts[i]?.page ?? 0] as GPUBuffer };
      });
      const y = add ? guarded(gpu(), "y", residual) : poisoned(gpu(), "y", tokens * rows);
      const steps = matmul(gpu(), { matrices, x: storage(gpu(), "x", x), y, tile, add, activation });
      await runSteps(gpu(), steps, { tokens });
      const finished = activation ? expected.map((value) => activate({ activation }, value, 1)) : expected;
      expectClose(await outputFloats(gpu(), y, tokens * rows), finished, TOLERANCE);
      return steps.length;
    }

    describe.each(runnableTypes)("%s", (type) => {
      test("one token, rows not a multiple of the lanes", () =>
        multiplied({ parts: [{ type, rows: 100 }], cols: 512, tokens: 1, tile: 1 }));

      test("tokens in part of a tile, a whole one, one and a part", async () => {
        expect.hasAssertions();
        for (const tokens of [1, TILE, TILE + 5]) {
          await multiplied({ parts: [{ type, rows: 72 }], cols: 256, tokens, tile: TILE });
        }
      });
    });

    describe.each([1, TILE])("tile %d", (tile) => {
      const tokens = tile + 2;

      test("whole workgroups of rows", () =>
        multiplied({ parts: [{ type: "F32", rows: 128 }], cols: 64, tokens, tile }));

      test("one row, one group of columns", () =>
        multiplied({ parts: [{ type: "Q8_0", rows: 1 }], cols: 32, tokens, tile }));

      test("columns that do not divide among the lanes of a row", () =>
        multiplied({ parts: [{ type: "F16", rows: 20 }], cols: 32 * 7, tokens, tile }));

      test("adds to what is there", () =>
        multiplied({ parts: [{ type: "Q4_K", rows: 70, bias: true }], cols: 256, tokens, tile, add: true }));

      test("a stack in one buffer, with bias and scale here and there", async () => {
        const parts: Part[] = [
          { type: "Q4_0", rows: 40, bias: true },
          { type: "Q4_0", rows: 65, scale: -0.7 },
          { type: "Q4_0", rows: 7, bias: true, scale: 1.3 },
          { type: "Q4_0", rows: 9 },
        ];
        expect(await multiplied({ parts, cols: 128, tokens, tile })).toBe(1);
      });

      test.each<Pointwise>(["tanh", "gelu-erf", "sigmoid"])("%s of the products", async (activation) => {
        await multiplied({
          parts: [{ type: "F32", rows: 70, bias: true }],
          cols: 64,
          tokens,
          tile,
          activation,
        });
      });

      test("several types and buffers, out of order", async () => {
        const parts: Part[] = [
          { type: "Q4_K", rows: 64 },
          { type: "Q6_K", rows: 30, scale: 0.5 },
          { type: "Q4_K", rows: 33, page: 1, bias: true },
          { type: "Q4_K", rows: 5, bias: true },
          { type: "F32", rows: 17, page: 1, bias: true, scale: 2 },
        ];
        expect(await multiplied({ parts, cols: 256, tokens, tile })).toBe(4);
      });
    });
  },
  true,
);
