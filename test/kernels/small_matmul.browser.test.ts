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
    const matrices = [{ matrix }];
    const x = normals(random, tokens * cols);
    const before = normals(random, tokens * rows);
    const y = add ? guarded(gpu(), "y", before) : poisoned(gpu(), "y", before.length);
    const steps = small_matmul(gpu(), { matrices, cols, add, x: storage(gpu(), "x", x), y });
    await runSteps(gpu(), steps, { tokens });
    const expected = reference(x, { values, rows, cols }, add ? before : undefined);
    expectClose(await outputFloats(gpu(), y, before.length), expected, TOLERANCE);
  });

  test.each([false, true])(
    "several, one below the other, with and without a bias, added: %s",
    async (add) => {
      const [cols, tokens] = [18, 3];
      const random = seeded(cols);
      const page = new WeightPage(random);
      const parts = [5, 66, 1].map((rows, i) => {
        const [values, bias] = [normals(random, rows * cols), i === 1 ? undefined : normals(random, rows)];
        return { rows, values, bias, bases: [page.floats(values), bias ? page.floats(bias) : 0] as const };
      });
      const buffer = storage(gpu(), "page", page.bytes());
      const matrices = parts.map(({ rows, values, bias, bases: [base, biasBase] }) => ({
        matrix: { buffer, base, length: values.length },
        bias: bias && { buffer, base: biasBase, length: rows },
      }));
      const rows = parts.reduce((sum, part) => sum + part.rows, 0);
      const x = normals(random, tokens * cols);
      const before = normals(random, tokens * rows);
      const y = add ? guarded(gpu(), "y", before) : poisoned(gpu(), "y", before.length);
      const steps = small_matmul(gpu(), { matrices, cols, add, x: storage(gpu(), "x", x), y });
      await runSteps(gpu(), steps, { tokens });
      const values = parts.flatMap((part) => [...part.values]);
      const bias = parts.flatMap((part) => [...(part.bias ?? new Float32Array(part.rows))]);
      const expected = reference(x, { values, rows, cols, bias }, add ? before : undefined);
      expectClose(await outputFloats(gpu(), y, before.length), expected, TOLERANCE);
    },
  );
});
