import { expect, test } from "vitest";
import { type InlineOptions, loadModelInline } from "../../src/inline.ts";
import { sharedAdapter } from "../support/adapter.ts";
import { collect } from "../support/engine.ts";
import { nmse } from "../support/golden.ts";
import { type MegatronOptions, megatronFolder, megatronLogits } from "../support/megatron_folder.ts";

const tokens = [5, 17, 70, 2, 2, 41, 63, 9, 71, 33, 1, 60];
const GREEDY_TOKENS = 5;

async function answers(source: readonly File[], options: Partial<InlineOptions> = {}) {
  const model = await loadModelInline(source, {
    store: "memory",
    ...options,
    adapter: await sharedAdapter(),
  });
  try {
    const greedy = await collect(model.generateTokens(tokens, { maxTokens: GREEDY_TOKENS }));
    return { greedy, logits: await model.logits(tokens), stats: await model.stats() };
  } finally {
    await model.dispose();
  }
}

test.each<[string, MegatronOptions]>([
  ["one expert beside an MLP, more experts in later layers", { experts: [4, 6], residual: true }],
  [
    "two experts beside an MLP, in every layer, GELU by tanh",
    { experts: [4], every: 1, k: 2, residual: true, act: ["gelu_fast", "gelu"] },
  ],
  ["a switch: one expert alone, a router with a bias", { experts: [5], switch: true }],
])("%s, as float64 has it; with one slot the same bits", async (_, options) => {
  const folder = megatronFolder(options);
  const { greedy, logits } = await answers(folder);
  const expected = megatronLogits(options, [...tokens, ...greedy]);
  const vocabulary = expected.length / (tokens.length + greedy.length);
  expect(nmse(logits, expected.subarray(0, tokens.length * vocabulary))).toBeLessThan(1e-10);
  const best = greedy.map((_, i) => {
    const row = expected.subarray((tokens.length - 1 + i) * vocabulary, (tokens.length + i) * vocabulary);
    return row.indexOf(Math.max(...row));
  });
  expect(greedy).toEqual(best);
  const paged = await answers(folder, { memory: { gpuExperts: "0%" } });
  expect({ greedy: paged.greedy, logits: paged.logits }).toEqual({ greedy, logits });
  expect(paged.stats.faultsPerToken).toBeGreaterThan(0);
});
