import { describe, expect, test } from "vitest";
import { planModel } from "../../src/model/archs/index.ts";
import { plainFrequencies, ropeTable, type Yarn, yarnFrequencies } from "../../src/model/rope.ts";
import { smallModel } from "../support/engine.ts";
import { changed, headerOf } from "./plan_file.ts";

const yarn: Yarn = {
  factor: 4,
  originalContext: 4096,
  betaFast: 32,
  betaSlow: 1,
  extrapolation: 1,
  attentionFactor: 1,
};

test("plain frequencies: base^(−2i / rotary)", () => {
  expect(plainFrequencies(8, 10_000)).toEqual(
    [1, 0.1, 0.01, 0.001].map((value) => expect.closeTo(value, 15)),
  );
  const wide = plainFrequencies(128, 1e6);
  expect(wide).toHaveLength(64);
  expect(Math.log(wide[48] as number)).toBeCloseTo(-0.75 * Math.log(1e6), 12);
});

describe("YaRN", () => {
  const plain = plainFrequencies(64, 10_000);
  const { frequencies, magnitude } = yarnFrequencies(64, 10_000, yarn);
  /** Full turns that pair i makes over the original context. */
  const turns = plain.map((frequency) => (4096 * frequency) / (2 * Math.PI));

  test("pairs that turn more than beta fast keep their frequency, those below beta slow are divided", () => {
    const fast = turns.findIndex((count) => count < 32);
    const slow = turns.findIndex((count) => count < 1);
    expect([fast, slow]).toEqual([11, 23]);
    // The ramp begins at the last pair above and ends at the first below.
    for (let i = 0; i < fast; i++) expect(frequencies[i]).toBeCloseTo(plain[i] as number, 14);
    for (let i = slow; i < 32; i++) expect(frequencies[i]).toBeCloseTo((plain[i] as number) / 4, 14);
  });

  test("between them the share of the divided frequency grows in equal steps", () => {
    const share = frequencies.map((frequency, i) => {
      const whole = plain[i] as number;
      return (whole - frequency) / (whole - whole / 4);
    });
    for (let i = 10; i <= 23; i++) expect(share[i]).toBeCloseTo((i - 10) / 13, 10);
  });

  test("cos and sin grow by 1 + 0.1 ln(factor), times the file's own factor", () => {
    expect(magnitude).toBeCloseTo(1.138629436, 9);
    const doubled = yarnFrequencies(64, 10_000, { ...yarn, attentionFactor: 2 });
    expect(doubled.magnitude).toBeCloseTo(2.277258872, 9);
  });

  test("without extrapolation all pairs are divided and nothing grows", () => {
    const linear = yarnFrequencies(64, 10_000, { ...yarn, extrapolation: 0 });
    linear.frequencies.forEach((frequency, i) => {
      expect(frequency).toBeCloseTo((plain[i] as number) / 4, 14);
    });
    expect(linear.magnitude).toBe(1);
  });
});

test("the table holds cos and sin of position times frequency, times the magnitude", () => {
  const table = ropeTable(3, { frequencies: [1, 0.5], magnitude: 2 });
  const expected = [0, 1, 2].flatMap((position) =>
    [1, 0.5].flatMap((frequency) => [2 * Math.cos(position * frequency), 2 * Math.sin(position * frequency)]),
  );
  expect(table).toEqual(Float32Array.from(expected));
});

test("far positions are as exact as near ones", () => {
  const [frequency] = plainFrequencies(2, 1e6) as [number];
  const table = ropeTable(100_001, { frequencies: [frequency], magnitude: 1 });
  expect(table[200_000]).toBe(Math.fround(Math.cos(100_000)));
});

describe("what a file says of its rope", async () => {
  const file = await headerOf(smallModel());
  const ropeOf = (keys: Record<string, number | string>) => {
    const entries = Object.entries(keys).map(([key, value]) => [`qwen3moe.rope.${key}`, value]);
    const plan = planModel(changed(file, { metadata: Object.fromEntries(entries) }));
    const attention = plan.layers[0]?.blocks.find((block) => block.kind === "attention");
    return attention?.rope;
  };
  const plain = plainFrequencies(64, 10_000);

  test("no scaling, and linear scaling by 0, which means not set", () => {
    expect(ropeOf({ "scaling.type": "none" })).toMatchObject({
      frequencies: plain,
      magnitude: 1,
      rotary: 64,
    });
    expect(ropeOf({ "scaling.type": "linear", "scaling.factor": 0 })?.frequencies).toEqual(plain);
  });

  test("linear scaling, another base, a part of the head", () => {
    expect(ropeOf({ "scaling.factor": 8 })?.frequencies).toEqual(plain.map((frequency) => frequency / 8));
    expect(ropeOf({ freq_base: 1e6 })?.frequencies).toEqual(plainFrequencies(64, 1e6));
    expect(ropeOf({ dimension_count: 32 })).toMatchObject({
      rotary: 32,
      frequencies: plainFrequencies(32, 10_000),
    });
  });

  test("YaRN with its own numbers", () => {
    const keys = {
      ...{ "scaling.type": "yarn", "scaling.factor": 2, "scaling.original_context_length": 128 },
      ...{ "scaling.yarn_beta_fast": 16, "scaling.yarn_beta_slow": 2, "scaling.attn_factor": 0.5 },
    };
    const { frequencies, magnitude } = yarnFrequencies(64, 10_000, {
      ...{
        factor: 2,
        originalContext: 128,
        betaFast: 16,
        betaSlow: 2,
        extrapolation: 1,
        attentionFactor: 0.5,
      },
    });
    expect(ropeOf(keys)).toMatchObject({ frequencies, magnitude });
    expect(ropeOf({ ...keys, "scaling.yarn_ext_factor": 0 })?.magnitude).toBe(0.5);
  });
});
