import { expect, test } from "vitest";
import { product_key_route } from "../../src/kernels/product_key_route.ts";
import { keyWeights } from "../reference/product_key.ts";
import { expectClose, onGpu, outputFloats, poisoned, runSteps, storage } from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";

/** An exponential and a division. */
const TOLERANCE = 5e-7;
const EPSILON = 1e-5;

interface Case {
  readonly heads: number;
  readonly keys: number;
  readonly tokens: number;
  readonly threshold: number;
  /** In place of random ones, [tokens, 2, heads, keys]. */
  readonly scores?: readonly number[];
}

onGpu(
  "product_key_route",
  (gpu) => {
    async function routed({ heads, keys, tokens, threshold, scores: told }: Case, firstVariance?: number) {
      const random = seeded(heads + keys);
      const mean = normals(random, 2 * heads, 0.3);
      const variance = Float32Array.from({ length: 2 * heads }, () => 0.3 + random());
      if (firstVariance !== undefined) variance[0] = firstVariance;
      const count = tokens * 2 * heads * keys;
      const scores = told ? Float32Array.from(told) : normals(random, count, 1.5);
      // Each vector begins at a multiple of 16 bytes of the page.
      const each = 4 * Math.ceil(heads / 4);
      const page = new Float32Array(4 * each);
      [
        mean.subarray(0, heads),
        variance.subarray(0, heads),
        mean.subarray(heads),
        variance.subarray(heads),
      ].forEach((vector, i) => {
        page.set(vector, i * each);
      });
      const buffer = storage(gpu(), "page", page);
      const piece = (i: number) => ({ buffer, base: (i * each) / 4, length: heads });
      const weights = poisoned(gpu(), "weights", count);
      const step = product_key_route(gpu(), {
        ...{ heads, keys, epsilon: EPSILON, least: threshold, weights },
        statistics: [
          { mean: piece(0), variance: piece(1) },
          { mean: piece(2), variance: piece(3) },
        ],
        scores: storage(gpu(), "scores", scores),
      });
      await runSteps(gpu(), [step], { tokens });
      const output = await outputFloats(gpu(), weights, count);
      const expected = keyWeights(scores, { heads, keys, mean, variance, epsilon: EPSILON, threshold });
      return { output, expected, kept: [...output].filter((w) => w > 0).length };
    }

    test.each<Case>([
      { heads: 2, keys: 8, tokens: 1, threshold: 0.6744897501960817 },
      { heads: 1, keys: 5, tokens: 3, threshold: 0.25 },
      { heads: 8, keys: 512, tokens: 3, threshold: 1.5341205443525463 },
      { heads: 3, keys: 8, tokens: 513, threshold: 0.6744897501960817 },
      { heads: 3, keys: 70, tokens: 2, threshold: -0.5 },
    ])("$heads heads, $keys keys, $tokens tokens, from $threshold on", async (shape) => {
      const { output, expected } = await routed(shape);
      expectClose(output, expected, TOLERANCE);
      expect([...output].map((w) => w > 0)).toEqual([...expected].map((w) => w > 0));
    });

    test("none reaches the threshold: the best alone; all do: all", async () => {
      const shape = { heads: 3, keys: 40, tokens: 2 };
      const rows = 2 * shape.heads * shape.tokens;
      for (const threshold of [Number.POSITIVE_INFINITY, 50]) {
        const { output, expected, kept } = await routed({ ...shape, threshold });
        expectClose(output, expected, TOLERANCE);
        expect(kept).toBe(rows);
      }
      const { output, expected, kept } = await routed({ ...shape, threshold: Number.NEGATIVE_INFINITY });
      expectClose(output, expected, TOLERANCE);
      expect(kept).toBe(rows * shape.keys);
    });

    test("equal scores share, also where they are the best below the threshold", async () => {
      const scores = [3, 1, 3, 0, -4, -4, -4, -4];
      const { output } = await routed({ heads: 1, keys: 4, tokens: 1, threshold: 50, scores });
      expect([...output]).toEqual([0.5, 0, 0.5, 0, 0.25, 0.25, 0.25, 0.25]);
    });

    test("scores far from 0, and scores and statistics that are no numbers", async () => {
      const far = [1e4, -1e4, 1e4 - 1, 0, -3e4, -3e4 - 2, -9e4, -8e4];
      const { output, expected } = await routed({
        heads: 1,
        keys: 4,
        tokens: 1,
        threshold: -1e6,
        scores: far,
      });
      expectClose(output, expected, TOLERANCE);
      const { output: damaged } = await routed({
        ...{ heads: 1, keys: 4, tokens: 1, threshold: 0 },
        scores: [1, Number.NaN, 2, 0, 1, 2, 3, 4],
      });
      expect([...damaged].map(Number.isFinite)).toEqual([true, false, true, true, true, true, true, true]);
      const shape = { heads: 1, keys: 2, tokens: 1, threshold: 0 };
      for (const variance of [Number.NaN, -1]) {
        const { output } = await routed(shape, variance);
        expect([...output].map(Number.isFinite)).toEqual([false, false, true, true]);
      }
    });
  },
  true,
);
