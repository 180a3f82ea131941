import { test } from "vitest";
import { embed } from "../../src/kernels/embed.ts";
import type { MatrixPiece } from "../../src/kernels/matrix.ts";
import { fileFormats, type TensorType } from "../../src/quant/formats.ts";
import { runnableTypes } from "../../src/quant/layout.ts";
import { embed as reference } from "../reference/index.ts";
import {
  expectClose,
  expectExact,
  guarded,
  onGpu,
  outputFloats,
  poisoned,
  runSteps,
  storage,
} from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";
import { type PlacedMatrix, WeightPage } from "../support/weight_page.ts";

/** One rounding more. */
const SCALED_TOLERANCE = 1e-7;

interface Case {
  readonly type: TensorType;
  readonly cols: number;
  /** Rows of each buffer of the table. */
  readonly split: readonly number[];
  readonly tokens: readonly number[];
  readonly position?: number;
  readonly scale?: number;
}

onGpu("embed", (gpu) => {
  /** A weight is one rounding from its bits: without a scale, whose product may be reordered, all are equal. */
  async function embedded({ type, cols, split, tokens, position = 0, scale = 1 }: Case) {
    const random = seeded(cols);
    const placed: PlacedMatrix[] = [];
    const table = split.map((rows, i): MatrixPiece => {
      const page = new WeightPage(random);
      const piece = page.matrix(type, rows, cols);
      placed.push(piece);
      const { base } = piece;
      return { buffer: storage(gpu(), `table ${i}`, page.bytes()), type, base, rows, cols };
    });
    const sequence = Uint32Array.from([...new Array(position).fill(0xffffffff), ...tokens, 0xffffffff]);
    const x = poisoned(gpu(), "x", tokens.length * cols);
    const steps = embed(gpu(), { table, tokens: storage(gpu(), "tokens", sequence), x, scale });
    // Last to first: a step that wrote another's tokens would not be put right by the next.
    await runSteps(gpu(), steps.toReversed(), { position, tokens: tokens.length });
    const values = Float32Array.from(placed.flatMap((matrix) => Array.from(matrix.values)));
    const expected = Float32Array.from(reference(values, cols, tokens), (v) => v * Math.fround(scale));
    const found = await outputFloats(gpu(), x, tokens.length * cols);
    if (scale === 1) expectExact(found, expected);
    else expectClose(found, expected, SCALED_TOLERANCE);
  }

  test.each(runnableTypes)("%s, every token once and again, from two buffers", (type) =>
    embedded({ type, cols: 256, split: [5, 8], tokens: [12, 0, 4, 5, 4, 1, 2, 3, 6, 7, 8, 9, 10, 11] }),
  );

  test.each(runnableTypes.filter((type) => fileFormats[type].block <= 32))(
    "%s, planes that fill no whole number of vectors",
    (type) => embedded({ type, cols: 96, split: [5, 1], tokens: [0, 5, 3, 4, 1, 2] }),
  );

  test("one token at a later position", () =>
    embedded({ type: "Q8_0", cols: 64, split: [7], tokens: [6], position: 9 }));

  test("the token that a head has drawn, into row 0", async () => {
    const page = new WeightPage(seeded(7));
    const { type, base, values } = page.matrix("F32", 6, 64);
    const table = [{ buffer: storage(gpu(), "table", page.bytes()), type, base, rows: 6, cols: 64 }];
    const tokens = storage(gpu(), "tokens", Uint32Array.of(0, 1, 2, 3, 4, 5, 0, 1));
    for (const params of [
      { position: 4, tokens: 1 },
      { position: 1, row: 3, tokens: 4 },
    ]) {
      const x = poisoned(gpu(), "x", 64);
      await runSteps(gpu(), embed(gpu(), { table, tokens, x, scale: 1, next: true }), params);
      expectExact(await outputFloats(gpu(), x, 64), reference(values, 64, [5]));
    }
  });

  test("rows by position, added to what is there", async () => {
    const random = seeded(11);
    const [rows, cols, tokens] = [9, 64, 4];
    const pages = [new WeightPage(random), new WeightPage(random)];
    const parts = pages.map((page, i) => page.matrix("F32", i === 0 ? 4 : rows - 4, cols));
    const table = parts.map(({ type, base, rows }, i) => {
      return { buffer: storage(gpu(), "table", (pages[i] as WeightPage).bytes()), type, base, rows, cols };
    });
    const values = Float32Array.from(parts.flatMap((part) => Array.from(part.values)));
    const sequence = storage(gpu(), "tokens", new Uint32Array(rows).fill(0xffffffff));
    const before = normals(random, tokens * cols);
    for (const [params, at, next] of [
      [{ position: 2, tokens }, [2, 3, 4, 5], false],
      [{ position: 2, row: 3, tokens }, [6], true],
    ] as const) {
      const x = guarded(gpu(), "x", before);
      await runSteps(
        gpu(),
        embed(gpu(), { table, tokens: sequence, x, scale: 1, positions: true, next }),
        params,
      );
      const added = reference(values, cols, at);
      const expected = before.map((value, i) => value + (added[i] ?? 0));
      expectExact(await outputFloats(gpu(), x, tokens * cols), expected);
    }
  });

  test("a scale", () =>
    embedded({ type: "Q6_K", cols: 512, split: [3, 3], tokens: [5, 1], scale: Math.sqrt(512) }));

  test("rows of more groups than lanes", () =>
    embedded({ type: "Q4_0", cols: 32 * 75, split: [2, 2], tokens: [0, 3] }));
});
