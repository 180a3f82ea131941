import { expect, test } from "vitest";
import { rmsnorm } from "../../src/kernels/rmsnorm.ts";
import { rmsnorm as reference } from "../reference/index.ts";
import { expectClose, onGpu, outputFloats, poisoned, runSteps, storage } from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";
import { WeightPage } from "../support/weight_page.ts";

/** Two rounded factors and a mean whose error shrinks under the root. */
const TOLERANCE = 3e-7;

interface Case {
  readonly cols: number;
  readonly tokens: number;
  /** Of x: small ones make epsilon count. */
  readonly scale: number;
}

onGpu(
  "rmsnorm",
  (gpu) => {
    async function normalised({ cols, tokens, scale }: Case, row?: number) {
      const random = seeded(cols + tokens);
      const page = new WeightPage(random);
      const weight = normals(random, cols);
      const base = page.floats(weight);
      const x = normals(random, cols * tokens, scale);
      x.fill(0, cols, 2 * cols);
      const outputs = row === undefined ? tokens : 1;
      const y = poisoned(gpu(), "y", cols * outputs);
      const args = {
        weight: { buffer: storage(gpu(), "page", page.bytes()), base, length: cols },
        epsilon: 1e-5,
        x: storage(gpu(), "x", x),
        y,
        head: row !== undefined,
      };
      await runSteps(gpu(), [rmsnorm(gpu(), args)], row === undefined ? { tokens } : { row });
      const from = row === undefined ? x : x.subarray(row * cols, (row + 1) * cols);
      expectClose(await outputFloats(gpu(), y, cols * outputs), reference(from, weight, 1e-5), TOLERANCE);
    }

    test.each<Case>([
      { cols: 256, tokens: 1, scale: 1 },
      { cols: 512, tokens: 5, scale: 30 },
      { cols: 36, tokens: 3, scale: 1 },
      { cols: 300, tokens: 4, scale: 1e-3 },
      { cols: 4, tokens: 2, scale: 1 },
    ])("$tokens rows of $cols, x about $scale", (shape) => normalised(shape));

    test("only the row asked for, into row 0", async () => {
      expect.hasAssertions();
      for (const row of [0, 3]) await normalised({ cols: 128, tokens: 4, scale: 1 }, row);
    });
  },
  true,
);
