import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import {
  exists,
  fixture,
  type GoldenCase,
  goldenCase,
  nmse,
  shared,
  tinyStoriesCases,
  tinyStoriesModel,
} from "../support/golden.ts";
import { loadOracle, type Oracle } from "./model.ts";

/** The golden logits are f32 sums in another order; a wrong formula costs 1e-5 or more. */
const MAX_NMSE = 1e-11;

const hasShared = await exists(shared("golden/archs/qwen3moe-moe.gguf"));

const load = (model: URL): Promise<Oracle> => loadOracle(fileURLToPath(model));

function expectGolden(oracle: Oracle, { tokens, greedy, logits }: GoldenCase): void {
  if (logits !== undefined) {
    expect(nmse(oracle.logits(tokens), logits)).toBeLessThan(MAX_NMSE);
  }
  expect(oracle.greedy(tokens, greedy.length)).toEqual(greedy);
}

test("random qwen3moe with biases and scales", async () => {
  expectGolden(await load(fixture("qwen3moe-moe.gguf")), await goldenCase(fixture("qwen3moe-moe")));
});

test("trained tiny-stories-moe in Q4_K_M", async () => {
  const oracle = await load(tinyStoriesModel());
  for (const golden of await tinyStoriesCases(fixture("golden-Q4_K_M"))) expectGolden(oracle, golden);
});

test("routes list every layer's distinct experts, best first, with weights that sum to one", async () => {
  const oracle = await load(fixture("qwen3moe-moe.gguf"));
  const { layers, experts } = oracle.config;
  const routes = oracle.routes([3, 1, 4, 1, 5]);
  expect(routes).toHaveLength(layers);
  for (const route of routes) {
    expect(route.experts).toHaveLength(5 * route.topK);
    for (let t = 0; t < 5; t++) {
      const ids = [...route.experts.subarray(t * 2, t * 2 + 2)];
      const [first = 0, second = 0] = route.weights.subarray(t * 2, t * 2 + 2);
      expect(new Set(ids).size).toBe(2);
      expect(ids.every((id) => id >= 0 && id < experts)).toBe(true);
      expect(first).toBeGreaterThanOrEqual(second);
      expect(first + second).toBeCloseTo(1, 12);
    }
  }
});

describe.runIf(hasShared)("models of the shared folder", () => {
  test("YaRN", async () => {
    const model = shared("golden/archs/qwen3moe-yarn");
    expectGolden(await load(new URL(`${model}.gguf`)), await goldenCase(model));
  });

  test.each(["Q8_0", "Q4_0"])("trained tiny-stories-moe in %s", async (type) => {
    const folder = "models/tiny-stories-moe";
    const oracle = await load(shared(`${folder}/tiny-stories-moe-${type}.gguf`));
    const [first] = await tinyStoriesCases(shared(`${folder}/golden-${type}`));
    expectGolden(oracle, first as GoldenCase);
  });

  const types = [
    ...["BF16", "F16", "IQ4_NL", "MXFP4_MOE", "Q2_K", "Q3_K_S", "Q4_0", "Q4_1", "Q4_K_S"],
    ...["Q5_0", "Q5_K_S", "Q6_K", "Q8_0", "TQ1_0"],
  ];
  test.each(types)("random qwen3moe in %s", async (type) => {
    const model = shared(`golden/quants/${type}`);
    expectGolden(await load(new URL(`${model}.gguf`)), await goldenCase(model));
  });
});
