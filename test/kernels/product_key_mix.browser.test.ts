import { test } from "vitest";
import { mixedRow, product_key_mix } from "../../src/kernels/product_key_mix.ts";
import { byKey, keyWeights } from "../reference/product_key.ts";
import { expectClose, onGpu, outputWords, POISON, poisoned, runSteps, storage } from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";

/** Sums over keys in another order. */
const TOLERANCE = 5e-7;

interface Case {
  readonly decompose: "horizontal" | "vertical";
  readonly heads: number;
  readonly keys: number;
  readonly units: number;
  readonly tokens: number;
  /** Of normalised scores; the fewer are kept, the more weights are 0. */
  readonly threshold?: number;
}

onGpu(
  "product_key_mix",
  (gpu) => {
    test.each<Case>([
      { decompose: "horizontal", heads: 2, keys: 8, units: 16, tokens: 3 },
      { decompose: "horizontal", heads: 1, keys: 5, units: 3, tokens: 1 },
      { decompose: "vertical", heads: 2, keys: 8, units: 8, tokens: 1 },
      { decompose: "vertical", heads: 3, keys: 7, units: 5, tokens: 5 },
      { decompose: "vertical", heads: 8, keys: 96, units: 4, tokens: 2 },
      { decompose: "vertical", heads: 2, keys: 8, units: 2, tokens: 513, threshold: 50 },
      { decompose: "horizontal", heads: 2, keys: 8, units: 4, tokens: 3, threshold: -50 },
    ])("$decompose, $heads heads, $keys keys of $units, $tokens tokens", async (shape) => {
      const { decompose, heads, keys, units, tokens, threshold = 0.5 } = shape;
      const random = seeded(heads + keys + units);
      const axes = { mean: new Float32Array(2 * heads), variance: new Float32Array(2 * heads).fill(1) };
      const scores = normals(random, tokens * 2 * heads * keys, 1.5);
      const weights = Float32Array.from(keyWeights(scores, { heads, keys, ...axes, epsilon: 0, threshold }));
      const { sources, parts, sumsAt, row } = mixedRow(shape);
      const hidden = normals(random, tokens * sources * keys * units);
      const mixed = poisoned(gpu(), "mixed", tokens * row);
      const step = product_key_mix(gpu(), {
        ...{ heads, keys, units, decompose, mixed, single: tokens === 1 },
        weights: storage(gpu(), "weights", weights),
        hidden: storage(gpu(), "hidden", hidden),
      });
      await runSteps(gpu(), [step], { tokens });
      const words = await outputWords(gpu(), mixed, tokens * row);

      const places: readonly (readonly [axis: 0 | 1, source: 0 | 1])[] =
        decompose === "vertical" ? [[0, 0], [0, 1], [1, 0], [1, 1]] : [[1, 0]]; // biome-ignore format: a table
      const expected = Array.from({ length: tokens }, (_, t) => {
        const own = weights.subarray(t * 2 * heads * keys, (t + 1) * 2 * heads * keys);
        const given = (source: number) =>
          hidden.subarray((t * sources + source) * keys * units, (t * sources + source + 1) * keys * units);
        const mixes = places.map(([axis, source]) =>
          byKey(own, given(source), { heads, keys, axis, source }),
        );
        // A bias is a unit that is always 1.
        const sums = (decompose === "vertical" ? ([0, 1] as const) : ([1] as const)).map((axis) =>
          byKey(own, new Float32Array(keys).fill(1), { heads, keys, axis, source: axis }),
        );
        return [...mixes, ...sums].flatMap((values) => [...values]);
      });
      const floats = new Float32Array(words.buffer);
      const used = sumsAt + sources * keys;
      const found = expected.flatMap((_, t) => [...floats.subarray(t * row, t * row + used)]);
      expectClose(found, expected.flat(), TOLERANCE);
      // Padding is nobody's.
      const padding = [...words].filter((_, i) => i % row >= used);
      if (padding.some((word) => word !== POISON)) throw new Error("padding was written");
      if (parts * keys * units !== sumsAt) throw new Error(`${parts} parts end at ${sumsAt}`);
    });
  },
  true,
);
