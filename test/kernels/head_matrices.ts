import { expect, test } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import type { head_matmul } from "../../src/kernels/head_matmul.ts";
import type { TensorType } from "../../src/quant/formats.ts";
import { columns, headMatmul, headMatmulTransposed } from "../reference/latent.ts";
import {
  downloadWords,
  expectClose,
  expectPoison,
  onGpu,
  poisoned,
  runSteps,
  storage,
  TILE,
} from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";
import { WeightPage } from "../support/weight_page.ts";

/** As matmul. */
const TOLERANCE = 5e-7;

interface Case {
  readonly type: TensorType;
  readonly heads: number;
  readonly rows: number;
  readonly cols: number;
  readonly tokens: number;
  readonly tile: number;
  /** Elements in front of a head's x, behind it, and the same of its y. */
  readonly margins: readonly [xBefore: number, xAfter: number, yBefore: number, yAfter: number];
  /** Rows of the matrix in front of a head's and behind them. */
  readonly between: readonly [before: number, after: number];
  /** The pieces' last rows, and whether each lies in a buffer of its own. */
  readonly cuts: readonly number[];
  readonly isSpread: boolean;
}

const plain: Case = {
  type: "F32",
  heads: 3,
  rows: 64,
  cols: 64,
  tokens: 1,
  tile: 1,
  margins: [0, 0, 0, 0],
  between: [0, 0],
  cuts: [],
  isSpread: false,
};

/** Tests of a kernel that multiplies each head's vector with each head's matrix, as it is or transposed. */
export function onHeads(name: string, kernel: typeof head_matmul, isTransposed: boolean): void {
  onGpu(name, (gpu) => headTests(gpu, kernel, isTransposed), true);
}

function headTests(gpu: () => Gpu, kernel: typeof head_matmul, isTransposed: boolean): void {
  async function multiplied(changed: Partial<Case>) {
    const shape = { ...plain, ...changed };
    const { type, heads, rows, cols, tokens, tile, margins, between, cuts, isSpread } = shape;
    const [xBefore, xAfter, yBefore, yAfter] = margins;
    const random = seeded(rows + cols + tokens);
    const [xCount, yCount] = isTransposed ? [rows, cols] : [cols, rows];
    const [xEach, yEach] = [xBefore + xCount + xAfter, yBefore + yCount + yAfter];
    const each = between[0] + rows + between[1];
    const padded = Math.ceil(tokens / tile) * tile;
    const x = normals(random, padded * heads * xEach).fill(Number.NaN, tokens * heads * xEach);

    const ends = [...cuts, heads * each];
    const pages = ends.map(() => new WeightPage(random));
    const all: number[] = [];
    const placed = ends.map((end, i) => {
      const page = pages[isSpread ? i : 0] as WeightPage;
      const { values, ...piece } = page.matrix(type, end - (ends[i - 1] ?? 0), cols);
      for (let v = 0; v < values.length; v++) all.push(values[v] as number);
      return piece;
    });
    const buffers = pages.map((page, i) => storage(gpu(), `page ${i}`, page.bytes()));
    const y = poisoned(gpu(), "y", tokens * heads * yEach);
    const steps = kernel(gpu(), {
      matrices: placed.map((piece, i) => ({ ...piece, buffer: buffers[isSpread ? i : 0] as GPUBuffer })),
      ...{ rows, tile, matrixRows: { each, first: between[0] } },
      x: { buffer: storage(gpu(), "x", x), row: heads * xEach, each: xEach, first: xBefore },
      y: { buffer: y, row: heads * yEach, each: yEach, first: yBefore },
    });
    expect(steps).toHaveLength(isSpread ? ends.length : 1);
    await runSteps(gpu(), steps, { tokens });

    const values = columns(all, each * cols, between[0] * cols, rows * cols);
    const used = columns(x.subarray(0, tokens * heads * xEach), xEach, xBefore, xCount);
    const words = await downloadWords(gpu(), y);
    const isWritten = (i: number) =>
      i < tokens * heads * yEach && i % yEach >= yBefore && i % yEach < yBefore + yCount;
    expectPoison(
      words.filter((_, i) => !isWritten(i)),
      "y beside the heads",
    );
    const found = new Float32Array(words.filter((_, i) => isWritten(i)).buffer);
    const reference = isTransposed ? headMatmulTransposed : headMatmul;
    expectClose(found, reference(used, { values, heads, rows, cols }), TOLERANCE);
  }

  test("one token", () => multiplied({}));
  test("one head", () => multiplied({ heads: 1, tokens: 3, tile: 2 }));
  test("several tokens, token by token", () => multiplied({ tokens: 3 }));
  test.each([TILE - 1, TILE, TILE + 1])("%d tokens in tiles", (tokens) => multiplied({ tokens, tile: TILE }));
  test("16 heads", () => multiplied({ heads: 16, tokens: 5, tile: TILE / 2 }));
  test("to a rank of 512", () => multiplied({ rows: 512, cols: 128, tokens: 3, tile: TILE / 2 }));
  test("from a rank of 512", () => multiplied({ rows: 128, cols: 512, tokens: 3, tile: TILE / 2 }));
  test.each([1, 30, 100, 192])("%d rows", (rows) => multiplied({ rows, tokens: 3, tile: 2 }));
  test.each([32, 96, 160])("%d columns", (cols) => multiplied({ cols, tokens: 3, tile: 2 }));
  test("between other elements", () =>
    multiplied({ margins: isTransposed ? [8, 15, 4, 8] : [8, 16, 4, 3], tokens: 3, tile: 2 }));
  test("one token between other elements", () => multiplied({ margins: [0, 64, 0, 64] }));
  test.each([1, 2])("between other rows, tile %d", (tile) =>
    multiplied({ between: [40, 0], rows: 72, tokens: 3, tile }),
  );
  test("before other rows", () => multiplied({ between: [0, 24], rows: 72, tokens: 3, tile: 2 }));
  test.each([false, true])("pieces cut anywhere, buffers of their own: %o", (isSpread) =>
    multiplied({ cuts: [10, 64, 150], isSpread, tokens: 3, tile: 2 }),
  );
  test("pieces in buffers of their own between other rows", () =>
    multiplied({ between: [16, 8], cuts: [30, 85, 90], isSpread: true, tokens: 2 }));
  test.each<TensorType>(["F16", "Q8_0", "Q4_0", "Q4_K", "Q6_K"])("%s", (type) =>
    multiplied({ type, cols: 256, tokens: 3, tile: 2 }),
  );
}
