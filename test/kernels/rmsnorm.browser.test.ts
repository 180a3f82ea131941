import { expect, test } from "vitest";
import { rmsnorm } from "../../src/kernels/rmsnorm.ts";
import { layernorm, rmsnorm as reference } from "../reference/index.ts";
import { expectClose, guarded, onGpu, outputFloats, poisoned, runSteps, storage } from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";
import { WeightPage } from "../support/weight_page.ts";

/** Two rounded factors and a mean whose error shrinks under the root. */
const TOLERANCE = 3e-7;

/** The mean that is taken off is as exact as numbers of its size are, here 100 times what is left. */
const OFFSET_TOLERANCE = 1e-5;

interface Case {
  readonly cols: number;
  readonly tokens: number;
  /** Of x: small ones make epsilon count. */
  readonly scale: number;
  readonly kind?: "rms" | "layer";
  readonly isBiased?: boolean;
  /** y is added to, so many times what is normalised. */
  readonly added?: number;
  /** Mean of x. */
  readonly offset?: number;
}

onGpu(
  "rmsnorm",
  (gpu) => {
    async function normalised(shape: Case, row?: number) {
      const { cols, tokens, scale, kind, isBiased = false, added, offset = 0 } = shape;
      const random = seeded(cols + tokens);
      const page = new WeightPage(random);
      const weight = normals(random, cols);
      const base = page.floats(weight);
      const x = normals(random, cols * tokens, scale).map((value) => value + offset);
      x.fill(0, cols, 2 * cols);
      const bias = normals(random, cols);
      const biases = new WeightPage(random);
      const biasBase = biases.floats(bias);
      const outputs = row === undefined ? tokens : 1;
      const before = normals(random, cols * outputs);
      const y = added === undefined ? poisoned(gpu(), "y", cols * outputs) : guarded(gpu(), "y", before);
      const args = {
        weight: { buffer: storage(gpu(), "page", page.bytes()), base, length: cols },
        ...(isBiased && {
          bias: { buffer: storage(gpu(), "biases", biases.bytes()), base: biasBase, length: cols },
        }),
        ...(added !== undefined && { add: true }),
        ...(added !== undefined && added !== 1 && { scale: added }),
        epsilon: 1e-5,
        x: storage(gpu(), "x", x),
        y,
        kind,
        head: row !== undefined,
      };
      await runSteps(gpu(), [rmsnorm(gpu(), args)], row === undefined ? { tokens } : { row });
      const from = row === undefined ? x : x.subarray(row * cols, (row + 1) * cols);
      const norm = kind === "layer" ? layernorm : reference;
      const expected = norm(from, weight, 1e-5).map((value, i) => {
        const biased = value + (isBiased ? (bias[i % cols] as number) : 0);
        return added === undefined ? biased : (before[i] as number) + Math.fround(added) * biased;
      });
      const tolerance = offset === 0 ? TOLERANCE : OFFSET_TOLERANCE;
      expectClose(await outputFloats(gpu(), y, cols * outputs), expected, tolerance);
    }

    test.each<Case>([
      { cols: 256, tokens: 1, scale: 1 },
      { cols: 512, tokens: 5, scale: 30 },
      { cols: 36, tokens: 3, scale: 1 },
      { cols: 300, tokens: 4, scale: 1e-3 },
      { cols: 4, tokens: 2, scale: 1 },
    ])("$tokens rows of $cols, x about $scale", (shape) => normalised(shape));

    test.each<Case>([
      { cols: 256, tokens: 1, scale: 1 },
      { cols: 512, tokens: 5, scale: 30 },
      { cols: 36, tokens: 3, scale: 1 },
      { cols: 300, tokens: 4, scale: 1e-3 },
      { cols: 4, tokens: 2, scale: 1 },
      { cols: 300, tokens: 3, scale: 1, offset: 100 },
    ])("$tokens rows of $cols, x about $scale, less their mean", async (shape) => {
      await normalised({ ...shape, kind: "layer" });
      await normalised({ ...shape, kind: "layer", isBiased: true });
    });

    test("a bias without a mean", () => normalised({ cols: 100, tokens: 3, scale: 1, isBiased: true }));

    test.each([1, 0.22])("added, times %d", async (added) => {
      await normalised({ cols: 300, tokens: 4, scale: 1, added });
      await normalised({ cols: 36, tokens: 1, scale: 1, added, kind: "layer", isBiased: true });
    });

    test("only the row asked for, into row 0", async () => {
      expect.hasAssertions();
      for (const row of [0, 3]) {
        await normalised({ cols: 128, tokens: 4, scale: 1 }, row);
        await normalised({ cols: 128, tokens: 4, scale: 1, kind: "layer", isBiased: true, added: 2 }, row);
      }
    });
  },
  true,
);
