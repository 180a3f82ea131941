import { describe, expect, test } from "vitest";
import { type InlineOptions, loadModelInline } from "../../src/inline.ts";
import { sharedAdapter } from "../support/adapter.ts";
import { collect, failure } from "../support/engine.ts";
import { nmse } from "../support/golden.ts";
import { type ReadMeOptions, readMeFolder, readMeLogits } from "../support/read_me_folder.ts";

const VOCABULARY = 96;
const tokens = [5, 17, 80, 2, 2, 41, 63, 9, 95, 33, 1, 70];

async function answers(folder: readonly File[], load: Partial<InlineOptions> = {}) {
  const adapter = await sharedAdapter();
  const model = await loadModelInline(folder, { store: "memory", ...load, adapter });
  try {
    const greedy = await collect(model.generateTokens(tokens, { maxTokens: 5 }));
    return { greedy, logits: await model.logits(tokens) };
  } finally {
    await model.dispose();
  }
}

describe("small models, as float64 has them, and with one slot to the same bits", () => {
  test.each<[string, ReadMeOptions]>([
    ["one block, as they train it", { blocks: 1 }],
    [
      "two blocks of two heads, scaled, a residual expert",
      { blocks: 2, heads: 2, normalizer: 4, residual: 64 },
    ],
    ["without attention", { blocks: 2, isNonautoregressive: true, activation: "silu" }],
  ])("%s", async (_, options) => {
    const folder = readMeFolder(options);
    const resident = await answers(folder);
    const expected = readMeLogits(options, [...tokens, ...resident.greedy]);
    expect(nmse(resident.logits, expected.slice(0, tokens.length * VOCABULARY))).toBeLessThan(1e-10);
    for (const [i, id] of resident.greedy.entries()) {
      const at = (tokens.length - 1 + i) * VOCABULARY;
      const row = expected.subarray(at, at + VOCABULARY);
      expect(row.indexOf(Math.max(...row))).toBe(id);
    }
    expect(await answers(folder, { memory: { gpuExperts: "0%" } })).toEqual(resident);
  });

  test.each<[string, Readonly<Record<string, unknown>>, RegExp]>([
    ["another function", { hidden_act_predictor: "mish" }, /hidden_act_predictor mish/],
    ["an embedding of another size", { embedding_dim: 32 }, /embedding_dim/],
    ["a predictor in training", { train_predictor: true }, /train_predictor/],
  ])("refused by name: %s", async (_, changes, message) => {
    const error = await failure("unsupported-model", () => answers(readMeFolder({ blocks: 1 }, changes)));
    expect(error.message).toMatch(message);
  });

  test.each([1e10, -1, 0.5])("no router has %d blocks", async (count) => {
    const folder = readMeFolder({ blocks: 1 }, { n_layer: count });
    expect((await failure("bad-model-file", () => answers(folder))).message).toMatch(/n_layer is/);
  });
});
