import { describe, expect, test } from "vitest";
import { type InlineOptions, loadModelInline } from "../../src/inline.ts";
import { buildPrograms } from "../../src/model/forward.ts";
import { GREEDY } from "../../src/model/sampling.ts";
import { allocateState } from "../../src/model/state.ts";
import { Weights } from "../../src/model/weights.ts";
import { sharedAdapter } from "../support/adapter.ts";
import { type BamOptions, bamFolder, bamLogits } from "../support/bam_folder.ts";
import { collect, lastLogits, openCold, prefillLogits } from "../support/engine.ts";
import { nmse } from "../support/golden.ts";
import { openGpu } from "../support/gpu.ts";

const ONE_SLOT = { memory: { gpuExperts: "0%" } } as const;
const tokens = Array.from({ length: 37 }, (_, i) => (i * i * 11 + 5 * i) % 96);

async function answers(folder: readonly File[], options: Partial<InlineOptions> = {}) {
  const adapter = await sharedAdapter();
  const model = await loadModelInline(folder, { store: "memory", ...options, adapter });
  try {
    const greedy = await collect(model.generateTokens(tokens, { maxTokens: 6 }));
    const logits = await model.logits(tokens);
    return { logits, greedy, stats: await model.stats() };
  } finally {
    await model.dispose();
  }
}

describe.each<[string, BamOptions]>([
  ["keys and values of each expert", { sharesKeys: false }],
  ["keys and values that all share", { sharesKeys: true }],
])("%s", (_, options) => {
  test("as float64 has it, with one slot to the same bits", async () => {
    const folder = bamFolder(options);
    const resident = await answers(folder);
    const all = [...tokens, ...resident.greedy];
    const expected = bamLogits(options, all);
    const vocabulary = expected.length / all.length;
    expect(nmse(resident.logits, expected.slice(0, tokens.length * vocabulary))).toBeLessThan(1e-10);
    const drawn = resident.greedy.map((id, i) => {
      const row = expected.subarray((tokens.length - 1 + i) * vocabulary, (tokens.length + i) * vocabulary);
      return row.indexOf(Math.max(...row)) === id;
    });
    expect(drawn).toEqual(resident.greedy.map(() => true));
    const { logits, greedy, stats } = await answers(folder, ONE_SLOT);
    expect({ logits, greedy }).toEqual({ logits: resident.logits, greedy: resident.greedy });
    // Experts came and went, though none need have been waited for: their routes are known before the attention.
    expect(stats.bytesUploadedPerToken).toBeGreaterThan(100 * resident.stats.bytesUploadedPerToken);
  });
});

test("routes are resolved before the attention, so that experts come while it runs", async () => {
  const gpu = await openGpu();
  const { plan, pages, sizes } = await openCold(gpu, bamFolder({ sharesKeys: false }), ONE_SLOT);
  const weights = new Weights(gpu, pages);
  weights.placeSites(pages.sites.map(() => 1));
  const { decode } = buildPrograms(gpu, plan, weights, allocateState(gpu, plan, sizes), sizes);
  const between = decode.sites.map(({ early = -1, route }) =>
    decode.steps.slice(early, route + 1).map(({ label }) => label),
  );
  for (const labels of between) {
    expect([labels[0], labels.at(-1)]).toEqual(["route", "route"]);
    expect(labels).toContain("attention");
    expect(labels).toContain("soft_mixture");
  }
  expect(between).toHaveLength(2);
  gpu.destroy();
});

test("chunks and what is in the cache change no bit", async () => {
  const gpu = await openGpu();
  const folder = bamFolder({ sharesKeys: true });
  const open = await openCold(gpu, folder, { chunkTokens: 16, contextTokens: 64, ...ONE_SLOT });
  const whole = await prefillLogits(open, tokens);
  const { signal } = new AbortController();
  for (const from of [1, 16, 21, tokens.length - 1]) {
    await open.runner.prefill(tokens, GREEDY, signal, from);
    expect(await lastLogits(open), `from ${from}`).toEqual(whole);
  }
  gpu.destroy();
});
