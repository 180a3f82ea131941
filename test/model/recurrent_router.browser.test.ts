import { describe, expect, test } from "vitest";
import { type InlineOptions, loadModelInline } from "../../src/inline.ts";
import { sharedAdapter } from "../support/adapter.ts";
import { collect } from "../support/engine.ts";
import { exists, nmse, readFloats, readJson, shared } from "../support/golden.ts";
import { type RmoeOptions, rmoeFolder, rmoeLogits } from "../support/rmoe_folder.ts";

/** One slot for the experts of a site: it stops at nearly every one. */
const ONE_SLOT = { memory: { gpuExperts: "0%" } } as const;

async function answers(
  source: URL | readonly File[],
  tokens: readonly number[],
  options: Partial<InlineOptions> = {},
) {
  const adapter = await sharedAdapter();
  const model = await loadModelInline(source, { store: "memory", ...options, adapter });
  try {
    const greedy = await collect(model.generateTokens(tokens, { maxTokens: 6 }));
    // Behind other tokens, whose state must be gone.
    const logits = await model.logits(tokens);
    return { logits, greedy, stats: await model.stats() };
  } finally {
    await model.dispose();
  }
}

const tokens = [5, 17, 80, 2, 2, 41, 63, 9, 95, 33, 1, 70];

describe("small models, as float64 has them", () => {
  test.each<[string, RmoeOptions]>([
    [
      "a plain cell, a shared expert, a bias",
      { cell: "rnn", shared: { routed: 0.7, shared: 0.4 }, bias: true },
    ],
    ["a gated cell of no whole groups of weights, a bias alone", { cell: "gru", state: 18, bias: true }],
    [
      "a plain router, biases of the attention, GELU",
      { cell: "none", shared: { routed: 1, shared: 0.6 }, attentionBias: true, isGelu: true },
    ],
  ])("%s", async (_, options) => {
    const folder = rmoeFolder(options);
    const resident = await answers(folder, tokens);
    const expected = rmoeLogits(options, [...tokens, ...resident.greedy]);
    const vocabulary = expected.length / (tokens.length + resident.greedy.length);
    expect(nmse(resident.logits, expected.slice(0, tokens.length * vocabulary))).toBeLessThan(1e-10);
    // What each token was drawn from.
    const drawn = resident.greedy.map((id, i) => {
      const row = expected.subarray((tokens.length - 1 + i) * vocabulary, (tokens.length + i) * vocabulary);
      return row.indexOf(Math.max(...row)) === id;
    });
    expect(drawn).toEqual(resident.greedy.map(() => true));
    const { logits, greedy, stats } = await answers(folder, tokens, ONE_SLOT);
    expect({ logits, greedy }).toEqual({ logits: resident.logits, greedy: resident.greedy });
    expect(stats.faultsPerToken).toBeGreaterThan(1);
  });
});

describe.runIf(await exists(shared("golden/papers/rmoe/config.json")))("the authors' own code", () => {
  test("its logits, with the experts there and with one slot, to the same bits", async () => {
    const place = shared("golden/papers/rmoe/");
    const { prompt } = await readJson<{ prompt: number[] }>(new URL("prompt.json", place));
    const golden = await readFloats(new URL("logits.f32", place));
    const resident = await answers(place, prompt);
    expect(nmse(resident.logits, golden)).toBeLessThan(1e-10);
    const { logits, greedy } = await answers(place, prompt, { ...ONE_SLOT, experts: { trace: true } });
    expect({ logits, greedy }).toEqual({ logits: resident.logits, greedy: resident.greedy });
  });
});
