import { describe, expect, test } from "vitest";
import { type InlineOptions, loadModelInline } from "../../src/inline.ts";
import { GREEDY } from "../../src/model/sampling.ts";
import { sharedAdapter } from "../support/adapter.ts";
import { collect, lastLogits, openCold, prefillLogits } from "../support/engine.ts";
import { nmse } from "../support/golden.ts";
import { openGpu } from "../support/gpu.ts";
import {
  type ModuleFormerOptions,
  moduleFormerFolder,
  moduleFormerLogits,
  plainModules,
} from "../support/moduleformer_folder.ts";

/** One slot for the experts of a site: it stops at nearly every one. */
const ONE_SLOT = { memory: { gpuExperts: "0%" } } as const;
const tokens = Array.from({ length: 41 }, (_, i) => (i * i * 7 + 3 * i) % 96);

async function load(source: URL | readonly File[], options: Partial<InlineOptions> = {}) {
  return loadModelInline(source, { store: "memory", ...options, adapter: await sharedAdapter() });
}

async function answers(
  source: URL | readonly File[],
  prompt: readonly number[],
  options: Partial<InlineOptions> = {},
) {
  const model = await load(source, options);
  try {
    const greedy = await collect(model.generateTokens(prompt, { maxTokens: 6 }));
    const logits = await model.logits(prompt);
    return { logits, greedy, stats: await model.stats(), experts: await model.experts() };
  } finally {
    await model.dispose();
  }
}

describe("small models, as float64 has them", () => {
  test.each<[string, ModuleFormerOptions]>([
    ["routers of two layers", plainModules],
    ["routers by cosine, a tied output", { ...plainModules, gate: "gmm", isTied: true }],
    [
      "linear routers, the exact GELU, one expert to ask with, whose head is as wide as the model",
      {
        ...plainModules,
        ...{ gate: "linear", activation: ["gelu", "gelu-erf"], heads: 1, attended: 64 },
        ...{ experts: { attention: 1, mlp: 5 }, topK: { attention: 1, mlp: 5 } },
      },
    ],
  ])("%s", async (_, options) => {
    const folder = moduleFormerFolder(options);
    const resident = await answers(folder, tokens);
    const all = [...tokens, ...resident.greedy];
    const expected = moduleFormerLogits(options, all);
    const vocabulary = expected.length / all.length;
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

  test.each([
    ["resident", {}],
    ["one slot a site", ONE_SLOT],
  ])("%s: chunks and what is in the cache change no bit", async (_, options) => {
    const gpu = await openGpu();
    const folder = moduleFormerFolder(plainModules);
    const open = await openCold(gpu, folder, { chunkTokens: 16, contextTokens: 64, ...options });
    while (options !== ONE_SLOT && (await open.pager.fill(Number.POSITIVE_INFINITY)));
    const whole = await prefillLogits(open, tokens);
    const { signal } = new AbortController();
    for (const from of [1, 15, 16, 21, tokens.length - 1]) {
      await open.runner.prefill(tokens, GREEDY, signal, from);
      expect(await lastLogits(open), `from ${from}`).toEqual(whole);
    }
    gpu.destroy();
    const { logits } = await answers(folder, tokens);
    expect(whole).toEqual(logits.slice(-whole.length));
  });

  test("a conversation is kept and goes on", async () => {
    const model = await load(moduleFormerFolder(plainModules), ONE_SLOT);
    const run = (prompt: readonly number[]) => collect(model.generateTokens(prompt, { maxTokens: 4 }));
    const first = await run(tokens.slice(0, 20));
    await model.conversations.save("kept");
    const next = [...tokens.slice(0, 20), ...first, 5, 6];
    const continued = await run(next);
    await run([1, 2, 3]);
    await model.conversations.restore("kept");
    expect(await run(next)).toEqual(continued);
    expect((await model.stats()).promptTokensReused).toBe(20 + first.length - 1);
    await model.dispose();
  });

  test("both blocks of a layer tell what their experts did", async () => {
    const model = await load(moduleFormerFolder(plainModules));
    const before = await model.experts();
    expect(before.sites.map(({ layer, block, uses }) => [layer, block, uses.length])).toEqual([
      [0, "attention", 6],
      [0, "feed-forward", 8],
      [1, "attention", 6],
      [1, "feed-forward", 8],
    ]);
    await model.logits(tokens);
    const { sites } = await model.experts();
    const uses = sites.map(({ uses }) => uses.reduce((sum, n) => sum + n, 0) / tokens.length);
    expect(uses).toEqual([2, 3, 2, 3]);
    await model.dispose();
  });
});
