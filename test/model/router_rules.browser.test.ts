import { afterEach, describe, expect, test } from "vitest";
import type { RoutingNumbers } from "../../src/api.ts";
import { decodeTrace } from "../../src/experts/trace.ts";
import { type InlineOptions, loadModelInline } from "../../src/inline.ts";
import type { Model } from "../../src/language_model.ts";
import { sharedAdapter } from "../support/adapter.ts";
import { collect, failure, smallCase, smallModel, sourceOf } from "../support/engine.ts";
import { nmse } from "../support/golden.ts";
import { type RoutedOptions, type RuleOptions, routedLogits, routedModel } from "../support/routed_model.ts";

const ONE_SLOT = { memory: { gpuExperts: "0%" } } as const;
const VOCABULARY = 96;
const tokens = [5, 17, 80, 2, 2, 41, 63, 9, 95, 33, 1, 70];

let model: Model;
afterEach(() => model?.dispose());

async function load(source: File, options: Partial<InlineOptions> = {}): Promise<Model> {
  model = await loadModelInline(source, { store: "memory", ...options, adapter: await sharedAdapter() });
  return model;
}

const generate = (prompt: readonly number[], maxTokens = 5) =>
  collect(model.generateTokens(prompt, { maxTokens }));

async function answers(options: RoutedOptions, numbers: Partial<RoutingNumbers>, how = {}) {
  await load(routedModel(options), how);
  if (Object.keys(numbers).length > 0) await model.routing.set(numbers);
  const logits = await model.logits(tokens);
  const greedy = await generate(tokens);
  await model.dispose();
  return { logits, greedy };
}

/** As float64 has a model whose own numbers these are. */
function withNumbers(options: RoutedOptions, { k, ...others }: Partial<RoutingNumbers>): RoutedOptions {
  const rule: RuleOptions = { ...options.rule, ...others };
  if (k === undefined || rule.name === undefined) return { ...options, ...(k && { k }), rule };
  throw new Error("a k of such rules is not told to the reference");
}

describe("small models, as float64 has them, and with one slot to the same bits", () => {
  test.each<[string, RoutedOptions, Partial<RoutingNumbers>]>([
    ["SMoE-Dropout: a bias, any k", { k: 3, rule: { bias: true, anyK: true } }, {}],
    ["SMoE-Dropout with all", { k: 3, rule: { bias: true, anyK: true } }, { k: 8 }],
    ["SMoE-Dropout with one", { k: 3, rule: { bias: true, anyK: true } }, { k: 1 }],
    [
      "EvoMoE: a threshold, and tokens without experts",
      { rule: { name: "threshold", threshold: 0.3, weights: "raw" } },
      {},
    ],
    [
      "ReMoE: all that a ReLU lets through",
      { rule: { gate: "relu", name: "threshold", weights: "raw" } },
      {},
    ],
    [
      "sigmoids, and fewer than the file has",
      { k: 4, rule: { gate: "sigmoid", weights: "raw" } },
      { threshold: 0.5 },
    ],
    ["√softplus", { rule: { gate: "sqrt-softplus", bias: true } }, {}],
    ["argmax, not weighed", { k: 1, rule: { weights: "one" } }, {}],
    ["all, by their probabilities", { rule: { name: "all" } }, {}],
    ["FactorLLM's weights", { k: 2, rule: { weights: "one-over-share", bias: true } }, {}],
    ["FactorLLM's weights with one", { k: 2, rule: { weights: "one-over-share", bias: true } }, { k: 1 }],
    [
      "dense to sparse: tanh and a temperature",
      { rule: { function: "tanh", bias: true, temperature: 0.4 } },
      {},
    ],
    ["dense to sparse: GELU", { rule: { function: "gelu-erf", weights: "raw" } }, { temperature: 2 }],
    ["top-p of a top-k model", { k: 4, rule: { weights: "raw" } }, { p: 0.6 }],
  ])("%s", async (_, options, numbers) => {
    const resident = await answers(options, numbers);
    const expected = routedLogits(withNumbers(options, numbers), [...tokens, ...resident.greedy]);
    expect(nmse(resident.logits, expected.slice(0, tokens.length * VOCABULARY))).toBeLessThan(1e-10);
    for (const [i, id] of resident.greedy.entries()) {
      const at = (tokens.length - 1 + i) * VOCABULARY;
      const row = expected.subarray(at, at + VOCABULARY);
      expect(row.indexOf(Math.max(...row))).toBe(id);
    }
    expect(await answers(options, numbers, ONE_SLOT)).toEqual(resident);
  });
});

describe("numbers that change while a model runs", () => {
  const loadSmall = async (options: Partial<InlineOptions> = {}) =>
    load((await sourceOf(smallModel())) as File, { contextTokens: 96, ...options });
  const reused = async () => (await model.stats()).promptTokensReused;

  test("read, refused with what is allowed, set for some layers, taken back", async () => {
    await loadSmall();
    const own = await model.routing.get();
    const numbers = { k: 2, p: 1, threshold: 0, temperature: 1 };
    expect(own.map(({ layer, rule, numbers }) => ({ layer, rule, numbers }))).toEqual(
      [0, 1].map((layer) => ({ layer, rule: "top-k", numbers })),
    );
    const { remedy, details } = await failure("bad-request", () =>
      model.routing.set({ temperature: 0.5, k: 3 }),
    );
    expect([remedy, details]).toEqual(["Use a whole number from 1 to 2 for k.", { layer: 0, k: "3" }]);
    expect(await model.routing.get()).toEqual(own);
    const set = await model.routing.set({ k: 1, temperature: 2 }, [1]);
    expect(set.map((layer) => layer.numbers)).toEqual([numbers, { ...numbers, k: 1, temperature: 2 }]);
    expect(await model.routing.reset([1])).toEqual(own);
  });

  test("what ran under other numbers is not reused, nor what a conversation kept of it", async () => {
    const prompt = (await smallCase()).tokens.slice(0, 20);
    await loadSmall();
    const own = await generate(prompt);
    const ownLogits = await model.logits(prompt);
    await model.routing.set({ k: 1 });
    const one = await generate(prompt);
    expect(await reused()).toBe(0);
    expect(await model.logits(prompt)).not.toEqual(ownLogits);
    await generate(prompt);
    expect(await reused()).toBe(prompt.length - 1);
    await model.conversations.save("one");
    await model.routing.reset();
    expect(await generate(prompt)).toEqual(own);
    expect(await reused()).toBe(0);
    await model.conversations.restore("one");
    expect(await generate(prompt)).toEqual(own);
    expect(await reused()).toBe(0);
    await model.conversations.restore("one");
    await model.routing.set({ k: 1 });
    expect(await generate(prompt)).toEqual(one);
    expect(await reused()).toBe(prompt.length - 1);
  });

  test.each([
    ["resident", {}],
    ["one slot a layer", ONE_SLOT],
  ])("%s: in the middle of an answer, from the next token on", async (_, options) => {
    const prompt = (await smallCase()).tokens.slice(0, 20);
    await loadSmall({ ...options, experts: { trace: true } });
    const ids: number[] = [];
    for await (const id of model.generateTokens(prompt, { maxTokens: 12 })) {
      if (ids.push(id) === 4) await model.routing.set({ k: 1 }, [1]);
    }
    const { tokens } = decodeTrace(await model.trace());
    const counts = tokens.map(({ routes }) => routes.map((route) => route.length));
    const first = counts.findIndex(([, second]) => second === 1);
    // The one behind what was read is under way.
    expect([prompt.length + 3, prompt.length + 4]).toContain(first);
    expect(counts.slice(0, first)).toEqual(new Array(first).fill([2, 2]));
    expect(counts.slice(first)).toEqual(new Array(counts.length - first).fill([2, 1]));
    // What ran before may be used again once the numbers are what they were.
    await model.routing.reset();
    await generate([...prompt, ...ids]);
    expect(await reused()).toBe(first);
  });
});
