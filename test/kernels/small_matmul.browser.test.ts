import { test } from "vitest";
import { small_matmul } from "../../src/kernels/small_matmul.ts";
import { matmul as reference } from "../reference/index.ts";
import { expectClose, guarded, onGpu, outputFloats, poisoned, runSteps, storage } from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";
import { WeightPage } from "../support/weight_page.ts";

/** One chain of up to 300 products. */
const TOLERANCE = 2e-6;

interface Case {
  readonly rows: number;
  readonly cols: number;
  readonly tokens: number;
  readonly add?: boolean;
}

onGpu("small_matmul", (gpu) => {
  test.each<Case>([
    { rows: 1, cols: 1, tokens: 1 },
    { rows: 12, cols: 12, tokens: 5, add: true },
    { rows: 7, cols: 56, tokens: 1 },
    { rows: 70, cols: 31, tokens: 3 },
    { rows: 130, cols: 300, tokens: 2, add: true },
    { rows: 6, cols: 6, tokens: 513, add: true },
  ])("$rows × $cols, $tokens tokens, added: $add", async ({ rows, cols, tokens, add = false }) => {
    const random = seeded(rows + cols);
    const values = normals(random, rows * cols);
    const page = new WeightPage(random);
    const base = page.floats(values);
    const matrix = { buffer: storage(gpu(), "page", page.bytes()), base, length: values.length };
    const x = normals(random, tokens * cols);
    const before = normals(random, tokens * rows);
    const y = add ? guarded(gpu(), "y", before) : poisoned(gpu(), "y", before.length);
    const step = small_matmul(gpu(), { matrix, cols, add, x: storage(gpu(), "x", x), y });
    await runSteps(gpu(), [step], { tokens });
    const expected = reference(x, { values, rows, cols }, add ? before : undefined);
    expectClose(await outputFloats(gpu(), y, before.length), expected, TOLERANCE);
  });
});
