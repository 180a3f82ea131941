import { afterAll, beforeAll, expect, test } from "vitest";
import type { TokenConstraint, TokenLogprobs } from "../../src/api.ts";
import type { Model } from "../../src/language_model.ts";
import { adjustLogits, argmax, logSoftmax } from "../reference/index.ts";
import { collect, failure, loadInline, smallCase, smallModel } from "../support/engine.ts";

const { tokens, greedy } = await smallCase();
const VOCABULARY = 128;

let model: Model;
beforeAll(async () => {
  model = await loadInline(smallModel());
});
afterAll(() => model.dispose());

const maskOf = (ids: readonly number[]) => {
  const words = new Uint32Array(VOCABULARY / 32);
  for (const id of ids) words[id >> 5] = (words[id >> 5] as number) | (1 << (id & 31));
  return words;
};

/** Allows what `of` says for the token behind those accepted; undefined allows all. */
function constrained(of: (accepted: readonly number[]) => readonly number[] | undefined) {
  const accepted: number[] = [];
  const constraint: TokenConstraint = {
    allowed() {
      const ids = of(accepted);
      return ids && maskOf(ids);
    },
    accept: (id) => void accepted.push(id),
  };
  return { constraint, accepted };
}

const generate = (options: Parameters<Model["generateTokens"]>[1]) =>
  collect(model.generateTokens(tokens, options));

test("masks decide, from the first token on, while the model is on its way and when it is there", async () => {
  const wanted = Array.from({ length: 12 }, (_, i) => (37 * i + 5) % VOCABULARY);
  for (const temperature of [0, 1]) {
    const { constraint, accepted } = constrained(({ length }) => [wanted[length] as number]);
    expect(await generate({ maxTokens: wanted.length, temperature, constraint })).toEqual(wanted);
    expect(accepted).toEqual(wanted);
    await model.install();
  }
});

test("of what is allowed the most likely; with nothing masked the golden tokens", async () => {
  const { constraint } = constrained(() => undefined);
  expect(await generate({ maxTokens: 10, constraint })).toEqual(greedy.slice(0, 10));
  const [first] = greedy;
  const others = Array.from({ length: VOCABULARY }, (_, id) => id).filter((id) => id !== first);
  const last = (await model.logits(tokens)).subarray(-VOCABULARY);
  const second = others.reduce((a, b) => ((last[b] as number) > (last[a] as number) ? b : a));
  expect(await generate({ maxTokens: 1, constraint: constrained(() => others).constraint })).toEqual([
    second,
  ]);
  // What follows is not masked any more.
  expect(await generate({ maxTokens: 10 })).toEqual(greedy.slice(0, 10));
});

test("a mask of another size, or of no id, is refused and the model goes on", async () => {
  for (const mask of [new Uint32Array(3), new Uint32Array(5).fill(1), new Uint32Array(4)]) {
    for (const at of [0, 1]) {
      let asked = 0;
      const constraint = { allowed: () => (asked++ === at ? mask : undefined), accept: () => {} };
      await failure("bad-request", () => generate({ maxTokens: 4, constraint }));
    }
  }
  expect(await generate({ maxTokens: 4 })).toEqual(greedy.slice(0, 4));
});

/** What `generate` draws, with the logits behind each of its tokens: [token][id]. */
async function withLogits(options: Parameters<Model["generateTokens"]>[1]) {
  const generated = await generate(options);
  const all = await model.logits([...tokens, ...generated.slice(0, -1)]);
  const rows = generated.map((_, i) => {
    const at = (tokens.length - 1 + i) * VOCABULARY;
    return all.slice(at, at + VOCABULARY);
  });
  return { generated, rows };
}

test("penalties and biases, greedy: each token is the most likely of the adjusted logits", async () => {
  const settings = [
    { frequencyPenalty: 1.5 },
    { presencePenalty: 2, repetitionPenalty: 1.2 },
    { logitBias: { 7: 3, 90: 2.5, [greedy[0] as number]: -100 } },
    { repetitionPenalty: 0.8, frequencyPenalty: -0.5, logitBias: { 11: 1 } },
  ];
  for (const options of settings) {
    const { generated, rows } = await withLogits({ maxTokens: 20, ...options });
    const expected = rows.map((row, i) =>
      argmax(adjustLogits(row, { prompt: tokens, generated: generated.slice(0, i), ...options })),
    );
    expect(generated).toEqual(expected);
    expect(generated).not.toEqual(greedy.slice(0, 20));
  }
  // Nothing is left of them.
  expect(await generate({ maxTokens: 10 })).toEqual(greedy.slice(0, 10));
});

test("with experts to wait for: the same tokens, counted once, and the same log probabilities", async () => {
  const part = await loadInline(smallModel(), { memory: { gpuExperts: "25%" } });
  const penalties = { frequencyPenalty: 1.5, repetitionPenalty: 1.1, temperature: 1.3, seed: 5 };
  const options = { maxTokens: 16, topLogprobs: 2, ...penalties };
  const told = async (from: Model) => {
    const all: TokenLogprobs[] = [];
    for await (const _ of from.generateTokens(tokens, {
      ...options,
      onLogprobs: (token) => all.push(token),
    }));
    return all;
  };
  expect(await told(part)).toEqual(await told(model));
  expect((await part.stats()).faultsPerToken).toBeGreaterThan(0);
  await part.dispose();
});

test("log probabilities are those of the logits as they are, whatever is drawn from", async () => {
  const others = { temperature: 1.5, seed: 3, logitBias: { 4: 5 }, frequencyPenalty: 1 };
  for (const options of [{}, others]) {
    const told: TokenLogprobs[] = [];
    const onLogprobs = (token: TokenLogprobs) => void told.push(token);
    const { generated, rows } = await withLogits({ maxTokens: 6, topLogprobs: 3, onLogprobs, ...options });
    expect(told.map(({ id }) => id)).toEqual(generated);
    for (const [i, { id, logprob, top }] of told.entries()) {
      const expected = logSoftmax(rows[i] as Float32Array);
      expect(logprob).toBeCloseTo(expected[id] as number, 4);
      const ids = [...expected.keys()].sort((a, b) => (expected[b] as number) - (expected[a] as number));
      expect(top.map(({ id }) => id)).toEqual(ids.slice(0, 3));
      for (const each of top) expect(each.logprob).toBeCloseTo(expected[each.id] as number, 4);
    }
  }
});
