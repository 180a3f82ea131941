import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { loadModelInline } from "../../src/inline.ts";
import { sharedAdapter } from "../support/adapter.ts";
import { collect, decodeLogits, openRunner, prefillLogits } from "../support/engine.ts";
import { exists, nmse, readFloats, readJson, shared } from "../support/golden.ts";
import { openGpu } from "../support/gpu.ts";
import { type MonetOptions, monetFolder, monetLogits } from "../support/monet_folder.ts";

const tokens = [5, 17, 80, 2, 2, 41, 63, 9, 95, 33, 1, 70];

async function answers(source: URL | readonly File[], prompt: readonly number[]) {
  const model = await loadModelInline(source, { store: "memory", adapter: await sharedAdapter() });
  try {
    const greedy = await collect(model.generateTokens(prompt, { maxTokens: 6 }));
    return { greedy, logits: await model.logits(prompt), info: model.info, stats: await model.stats() };
  } finally {
    await model.dispose();
  }
}

describe("small models, as float64 has them", () => {
  test.each<[string, MonetOptions]>([
    [
      "vertical, a router for two layers",
      { decompose: "vertical", heads: 2, keys: 8, dim: 8, topK: 2, groups: 2 },
    ],
    [
      "horizontal, a router for three layers, biases of attention, tied",
      {
        ...{ decompose: "horizontal", heads: 3, keys: 8, dim: 12, topK: 5, groups: 3 },
        ...{ attentionBias: true, tied: true, act: "gelu" },
      },
    ],
    [
      "vertical, one head, a router in each layer, all keys kept",
      { decompose: "vertical", heads: 1, keys: 16, dim: 4, topK: 16, groups: 1, act: "silu" },
    ],
    [
      "horizontal, units that no vector is as short as",
      { decompose: "horizontal", heads: 2, keys: 32, dim: 3, topK: 1, groups: 4 },
    ],
  ])("%s", async (_, options) => {
    const { greedy, logits } = await answers(monetFolder(options), tokens);
    const expected = monetLogits(options, [...tokens, ...greedy]);
    const vocabulary = expected.length / (tokens.length + greedy.length);
    expect(nmse(logits, expected.slice(0, tokens.length * vocabulary))).toBeLessThan(1e-10);
    // What each token was drawn from.
    const best = greedy.map((_, i) => {
      const row = expected.subarray((tokens.length - 1 + i) * vocabulary, (tokens.length + i) * vocabulary);
      return row.indexOf(Math.max(...row));
    });
    expect(best).toEqual(greedy);
  });
});

describe.runIf(await exists(shared("golden/papers/monet-vd/config.json")))("the authors' own code", () => {
  const place = shared("golden/papers/monet-vd/");
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.destroy());

  test("its logits, of the prompt together and token by token; nothing is brought in", async () => {
    const { prompt } = await readJson<{ prompt: number[] }>(new URL("prompt.json", place));
    const golden = await readFloats(new URL("logits.f32", place));
    const { logits, info, stats } = await answers(place, prompt);
    expect(nmse(logits, golden)).toBeLessThan(1e-10);
    expect(info).toMatchObject({ experts: 0, expertsPerToken: 0 });
    expect(stats.faultsPerToken).toBe(0);
    const open = await openRunner(gpu, place);
    const together = await prefillLogits(open, prompt);
    expect(nmse(await decodeLogits(open, prompt), together)).toBeLessThan(1e-10);
  });
});
