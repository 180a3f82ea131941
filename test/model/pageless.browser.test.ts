import { describe, expect, test } from "vitest";
import { decodeTrace } from "../../src/experts/trace.ts";
import type { ExpertActivity } from "../../src/index.ts";
import { type InlineOptions, loadModelInline } from "../../src/inline.ts";
import { adamoeFolder, adamoeLogits } from "../support/adamoe_folder.ts";
import { sharedAdapter } from "../support/adapter.ts";
import { collect } from "../support/engine.ts";
import { exists, nmse, readFloats, readJson, shared } from "../support/golden.ts";
import {
  type MoePlusPlusOptions,
  moePlusPlusFolder,
  moePlusPlusLogits,
} from "../support/moe_plus_plus_folder.ts";

/** One slot for the experts of a site: it stops at nearly every one. */
const ONE_SLOT = { memory: { gpuExperts: "0%" }, experts: { trace: true } } as const;

async function answers(
  source: URL | readonly File[],
  tokens: readonly number[],
  options: Partial<InlineOptions> = {},
) {
  const adapter = await sharedAdapter();
  const model = await loadModelInline(source, { store: "memory", ...options, adapter });
  try {
    // From now on what experts do is counted.
    if (options.experts?.trace) await model.experts();
    const greedy = await collect(model.generateTokens(tokens, { maxTokens: 6 }));
    const logits = await model.logits(tokens);
    const trace = options.experts?.trace ? decodeTrace(await model.trace()) : undefined;
    return { logits, greedy, trace, stats: await model.stats(), activity: await model.experts() };
  } finally {
    await model.dispose();
  }
}

const tokens = Array.from({ length: 30 }, (_, i) => (17 + 31 * i + 5 * i * i) % 96);

/** Logits and drawn tokens agree with float64, and with one slot to the bit. */
async function agrees(folder: readonly File[], reference: (tokens: readonly number[]) => Float64Array) {
  const resident = await answers(folder, tokens);
  const all = [...tokens, ...resident.greedy];
  const expected = reference(all);
  const vocabulary = expected.length / all.length;
  expect(nmse(resident.logits, expected.slice(0, tokens.length * vocabulary))).toBeLessThan(1e-10);
  const best = all.map((_, t) => {
    const row = expected.subarray(t * vocabulary, (t + 1) * vocabulary);
    return row.indexOf(Math.max(...row));
  });
  expect(best.slice(tokens.length - 1, -1)).toEqual(resident.greedy);
  const paged = await answers(folder, tokens, ONE_SLOT);
  expect(paged.logits).toEqual(resident.logits);
  expect(paged.greedy).toEqual(resident.greedy);
  return { resident, paged };
}

/** Experts from `first` on are there, used, and nobody ever waited for them; of the others one has a slot. */
function expectPageless({ sites }: ExpertActivity, first: number) {
  const sum = (counts: readonly number[]) => counts.slice(first).reduce((all, count) => all + count, 0);
  for (const { isResident, uses, misses, pageless } of sites) {
    expect(pageless).toEqual([...uses.keys()].slice(first));
    expect(isResident.slice(first).every(Boolean)).toBe(true);
    expect(isResident.slice(0, first).filter(Boolean)).toHaveLength(1);
    expect(sum(uses)).toBeGreaterThan(0);
    expect(sum(misses)).toBe(0);
    expect(misses.some((count) => count > 0)).toBe(true);
  }
}

describe("small models, as float64 has them", () => {
  test.each<[string, MoePlusPlusOptions]>([
    ["two layers of odd sizes, a deviation", { experts: 7, layers: 2, deviation: 0.5 }],
    ["one layer, inputs as they are", { experts: 32, layers: 1, isPlainInput: true }],
    [
      "one layer, Mixtral's gating, a longer rope",
      { experts: 10, layers: 1, isMixtral: true, hasLongRope: true },
    ],
  ])("MoE++: %s", async (_, options) => {
    const { experts } = options;
    const { uses } = moePlusPlusLogits(options, tokens);
    for (let e = experts - 4; e < experts; e++) {
      const chosen = uses.reduce((sum, layer) => sum + (layer[e] ?? 0), 0);
      expect(chosen, `tokens of expert ${e}`).toBeGreaterThan(0);
    }
    const { paged } = await agrees(
      moePlusPlusFolder(options),
      (all) => moePlusPlusLogits(options, all).logits,
    );
    // The prompt came twice, then what was drawn but for the last.
    const prompt = paged.trace?.tokens.slice(0, tokens.length) ?? [];
    const named = uses.map((layer, l) =>
      layer.map((__, e) => prompt.filter(({ routes }) => routes[l]?.includes(e)).length),
    );
    expect(named).toEqual(uses);
    expectPageless(paged.activity, experts - 4);
  });

  test("AdaMoE: tokens with all their experts, with fewer, with none", async () => {
    const { tokensWith } = adamoeLogits(tokens);
    expect(tokensWith.every((count) => count > 0)).toBe(true);
    const { paged } = await agrees(adamoeFolder(), (all) => adamoeLogits(all).logits);
    expectPageless(paged.activity, 4);
  });
});

describe.runIf(await exists(shared("golden/papers/moepp/config.json")))("the authors' own code", () => {
  test.each(["moepp", "moepp-mixtral"])("%s: its logits and routes, with one slot", async (name) => {
    const place = shared(`golden/papers/${name}/`);
    const { prompt } = await readJson<{ prompt: number[] }>(new URL("prompt.json", place));
    const { layers } = await readJson<{ layers: { experts: number[][] }[] }>(new URL("routes.json", place));
    const golden = await readFloats(new URL("logits.f32", place));
    const { logits, trace, stats } = await answers(place, prompt, ONE_SLOT);
    expect(nmse(logits, golden)).toBeLessThan(1e-10);
    const sorted = (experts: readonly number[] = []) => experts.toSorted((a, b) => a - b);
    expect(trace?.tokens.slice(0, prompt.length).map(({ routes }) => routes.map(sorted))).toEqual(
      prompt.map((_, t) => layers.map(({ experts }) => sorted(experts[t]))),
    );
    expect(stats.faultsPerToken).toBeGreaterThan(0);
  });
});
