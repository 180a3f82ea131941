import { describe, expect, test } from "vitest";
import {
  attention,
  attentionTemperature,
  combine,
  embed,
  gateHeads,
  layernorm,
  matmul,
  normalBelow,
  rmsnorm,
  rope,
  ropeTable,
  route,
  sample,
} from "./index.ts";

/** What the oracle does not exercise, against numbers worked out by hand. */

function expectClose(actual: ArrayLike<number>, expected: readonly number[]): void {
  expect(actual).toHaveLength(expected.length);
  for (const [i, value] of expected.entries()) expect(actual[i]).toBeCloseTo(value, 12);
}

test("embed copies rows, repeated ones too", () => {
  expectClose(embed([1, 2, 3, 4, 5, 6], 2, [2, 0, 2]), [5, 6, 1, 2, 5, 6]);
});

test("rmsnorm works on runs as long as the weight", () => {
  const [a, b] = [3 / Math.sqrt(12.5), 4 / Math.sqrt(12.5)];
  expectClose(rmsnorm([3, 4, 6, 8], [1, 10], 0), [a, 10 * b, a, 10 * b]);
  expectClose(rmsnorm([0, 0], [1, 1], 1e-6), [0, 0]);
});

test("layernorm takes the mean off runs as long as the weight", () => {
  expectClose(layernorm([1, 3, 15, 11], [1, 10], 0), [-1, 10, 1, -10]);
  expectClose(layernorm([5, 5], [2, 2], 1e-6), [0, 0]);
  expectClose(layernorm([0, 4], [1, 1], 12), [-0.5, 0.5]);
});

test("the normal distribution, where its two formulas meet and far out", () => {
  expect(normalBelow(0)).toBe(0.5);
  expect(normalBelow(1.959963984540054)).toBeCloseTo(0.975, 14);
  expect(normalBelow(-2.8284271) - normalBelow(-2.8284272)).toBeCloseTo(7.306e-10, 12);
  expect(normalBelow(-6) / 9.865876450376981e-10).toBeCloseTo(1, 12);
});

test("matmul scales the product, then adds bias and residual", () => {
  const matrix = { values: [1, 2, 3, 4, 5, 6], rows: 2, cols: 3, scale: 2, bias: [100, 200] };
  expectClose(matmul([1, 0, -1, 0, 1, 0], matrix, [1, 2, 3, 4]), [97, 198, 107, 214]);
});

describe("rope", () => {
  const quarter = { frequencies: [Math.PI / 2, 0], magnitude: 1 };

  test("pairs distant dimensions (neox) or neighbours (normal), and leaves the rest of a head alone", () => {
    const x = [1, 2, 3, 4, 5];
    const options = { ...quarter, heads: 1, positions: [1] };
    expectClose(rope(x, { ...options, variant: "neox" }), [-3, 2, 1, 4, 5]);
    expectClose(rope(x, { ...options, variant: "normal" }), [-2, 1, 3, 4, 5]);
  });

  test("turns every head of a token by the token's own position", () => {
    const options = { ...quarter, magnitude: 2, heads: 2, positions: [0, 2], variant: "neox" } as const;
    const head = [1, 0, 0, 0];
    const turned = rope([...head, ...head, ...head, ...head], options);
    expectClose(turned, [2, 0, 0, 0, 2, 0, 0, 0, -2, 0, 0, 0, -2, 0, 0, 0]);
  });

  test("tables: base, frequency factors, linear scaling", () => {
    expectClose(ropeTable({ base: 10_000, dims: 4 }).frequencies, [1, 0.01]);
    expectClose(ropeTable({ base: 10_000, dims: 4, factors: [2, 10] }).frequencies, [0.5, 0.001]);
    const linear = ropeTable({ base: 10_000, dims: 4, scaling: { type: "linear", factor: 4 } });
    expectClose(linear.frequencies, [0.25, 0.0025]);
    expect(linear.magnitude).toBe(1);
  });

  test("YaRN keeps fast pairs, stretches slow ones and raises the magnitude", () => {
    const scaling = { type: "yarn", factor: 4, originalContext: 64 } as const;
    const { frequencies, magnitude } = ropeTable({ base: 10_000, dims: 64, scaling });
    const plain = ropeTable({ base: 10_000, dims: 64 }).frequencies;
    expect(frequencies[0]).toBe(plain[0]);
    expect(frequencies[31]).toBeCloseTo((plain[31] as number) / 4, 15);
    expect(magnitude).toBeCloseTo(1 + 0.1 * Math.log(4), 15);
  });
});

describe("attention", () => {
  const options = { heads: 2, kvHeads: 1, positions: [0, 1, 2], scale: 1 };
  const q = [0, 0, 0, 0, 0, 0];
  const k = [1, 2, 3];

  test("averages the past where all scores are equal; query heads share a key head", () => {
    expectClose(attention(q, k, [2, 4, 9], options), [2, 2, 3, 3, 5, 5]);
  });

  test("a sliding window counts the query's own position", () => {
    const window = { tokens: 2, kind: "sliding" } as const;
    expectClose(attention(q, k, [2, 4, 9], { ...options, window }), [2, 2, 3, 3, 6.5, 6.5]);
  });

  test("chunks begin at multiples of their size", () => {
    const window = { tokens: 2, kind: "chunk" } as const;
    expectClose(attention(q, k, [2, 4, 9], { ...options, window }), [2, 2, 3, 3, 9, 9]);
  });

  test("a head's sink takes a share of the weights that goes nowhere, whatever the scale", () => {
    const two = { ...options, positions: [1], scale: 0.25, sinks: [Math.log(2), -Infinity] };
    expectClose(attention([0, 0], [1, 2], [4, 8], two), [3, 6]);
  });

  test("a cap bounds the scaled score", () => {
    const [z, cap] = [Math.atanh(0.5), 2];
    const capped = { ...options, heads: 1, positions: [1], scale: 2, softcap: cap };
    expectClose(attention([z], [0, 1], [0, 1], capped), [Math.E / (1 + Math.E)]);
  });

  test("a lone later query sees every key before it; values may be wider than keys", () => {
    const lone = { ...options, heads: 1, positions: [2], scale: 0.5 };
    const weights = [1, Math.E, Math.E ** 2].map((w) => w / (1 + Math.E + Math.E ** 2));
    const [a = 0, b = 0, c = 0] = weights;
    expectClose(attention([2], [0, 1, 2], [1, 10, 2, 20, 3, 30], lone), [
      a + 2 * b + 3 * c,
      10 * a + 20 * b + 30 * c,
    ]);
  });
});

test("the temperature of attention rises with the logarithm of the position", () => {
  const options = { scale: 0.5, length: 10, offset: 1 };
  expectClose(
    [0, 8, 9, 18, 19].map((position) => attentionTemperature(position, options)),
    [0, 0, Math.log(2), Math.log(2), Math.log(3)].map((ln) => 1 + ln / 2),
  );
});

test("gates of elements or of heads", () => {
  expectClose(gateHeads([2, 4, 6, 8], [0, 0, Math.log(3), -Math.log(3)]), [1, 2, 4.5, 2]);
  expectClose(gateHeads([2, 4, 6, 8], [0, Math.log(3)]), [1, 2, 4.5, 6]);
});

describe("route", () => {
  const logits = [0, Math.log(2), Math.log(2), Math.log(3)];

  test("of equal logits the lower expert index wins", () => {
    expect([...route([1, 1, 1], { experts: 3, topK: 2, weightRule: "one" }).experts]).toEqual([0, 1]);
    expect([...route(logits, { experts: 4, topK: 2, weightRule: "one" }).experts]).toEqual([3, 1]);
  });

  test.each([
    ["renorm", [3 / 5, 2 / 5]],
    ["raw", [3 / 8, 2 / 8]],
    ["one", [1, 1]],
  ] as const)("weights: %s", (weightRule, weights) => {
    expectClose(route(logits, { experts: 4, topK: 2, weightRule }).weights, weights);
  });
});

test("combine adds the weighted rows of each token to its residual", () => {
  expectClose(
    combine([1, 2, 3, 4, 5, 6, 7, 8], [1, 10, 0, 1], 2, [100, 200, 300, 400]),
    [131, 242, 307, 408],
  );
});

describe("sample", () => {
  const logits = [Math.log(1), Math.log(4), Math.log(2), Math.log(2), Math.log(1)];

  test("temperature divides the logits; 0 is greedy", () => {
    expectClose(sample(logits, { temperature: 1 }), [0.1, 0.4, 0.2, 0.2, 0.1]);
    expectClose(
      sample(logits, { temperature: 0.5 }),
      [1, 16, 4, 4, 1].map((p) => p / 26),
    );
    expectClose(sample([1, 5, 5], { temperature: 0 }), [0, 1, 0]);
  });

  test("top-k keeps what ties with the k-th", () => {
    expectClose(sample(logits, { temperature: 1, topK: 2 }), [0, 0.5, 0.25, 0.25, 0]);
    expectClose(sample(logits, { temperature: 1, topK: 1 }), [0, 1, 0, 0, 0]);
    expectClose(sample(logits, { temperature: 1, topK: 99 }), [0.1, 0.4, 0.2, 0.2, 0.1]);
  });

  test("top-p keeps the smallest prefix that reaches p, of what top-k left", () => {
    expectClose(sample(logits, { temperature: 1, topP: 0.3 }), [0, 1, 0, 0, 0]);
    expectClose(sample(logits, { temperature: 1, topP: 0.5 }), [0, 2 / 3, 1 / 3, 0, 0]);
    expectClose(sample(logits, { temperature: 1, topK: 2, topP: 0.8 }), [0, 0.5, 0.25, 0.25, 0]);
  });
});
