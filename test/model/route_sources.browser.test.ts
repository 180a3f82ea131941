import { describe, expect, test } from "vitest";
import type { RouteRequest } from "../../src/api.ts";
import { type InlineOptions, loadModelInline } from "../../src/inline.ts";
import { sharedAdapter } from "../support/adapter.ts";
import { collect } from "../support/engine.ts";
import { nmse } from "../support/golden.ts";
import { type RoutedOptions, routedLogits, routedModel } from "../support/routed_model.ts";

/** One slot for the experts of a site: it stops, or waits, at nearly every one. */
const ONE_SLOT = { memory: { gpuExperts: "0%" } } as const;
const VOCABULARY = 96;

const tokens = [5, 17, 80, 2, 2, 41, 63, 9, 95, 33, 1, 70];

async function answers(options: RoutedOptions, request: RouteRequest, load: Partial<InlineOptions> = {}) {
  const adapter = await sharedAdapter();
  const model = await loadModelInline([routedModel(options)], { store: "memory", ...load, adapter });
  try {
    const logits = await model.logits(tokens, request);
    const greedy = await collect(model.generateTokens(tokens, { maxTokens: 5, ...request }));
    return { logits, greedy };
  } finally {
    await model.dispose();
  }
}

test("what other routes left in the cache is not used again, nor what a conversation kept of them", async () => {
  const adapter = await sharedAdapter();
  const file = routedModel({ input: "given", k: 2 });
  const model = await loadModelInline([file], { store: "memory", adapter });
  const generate = async (experts: readonly number[]) => {
    const ids = await collect(model.generateTokens(tokens, { maxTokens: 3, experts }));
    return { ids, reused: (await model.stats()).promptTokensReused };
  };
  const [first, other] = [await generate([0, 4]), await generate([7])];
  expect([first.reused, other.reused]).toEqual([0, 0]);
  expect(await generate([7])).toEqual({ ids: other.ids, reused: tokens.length - 1 });
  await model.conversations.save("by 7", {});
  expect(await generate([0, 4])).toEqual(first);
  await model.conversations.restore("by 7");
  expect(await generate([0, 4])).toEqual(first);
  await model.conversations.restore("by 7");
  expect(await generate([7])).toEqual({ ids: other.ids, reused: tokens.length - 1 });
  await model.dispose();
});

describe("small models, as float64 has them, and with one slot to the same bits", () => {
  test.each<[string, RoutedOptions, RouteRequest]>([
    ["the layer before", { input: "previous-layer" }, {}],
    ["the token, by the model's embedding", { input: "token", k: 1 }, {}],
    ["the token, by an embedding of the router's own", { input: "token", k: 3, size: 32 }, {}],
    ["a matrix for each task", { input: "task", tasks: 3 }, { task: 2 }],
    ["the task's embedding", { input: "task", tasks: 3, size: 32 }, { task: 1 }],
    ["one set for all layers", { input: "given", k: 3 }, { experts: [6, 0, 3] }],
    [
      "a set for each layer, one empty, one of all",
      { input: "given", k: 8 },
      { experts: [[], [7, 6, 5, 4, 3, 2, 1, 0], [4]] },
    ],
    ["a draw for each token", { input: "draw" }, { routeSeed: 7 }],
    ["a draw for the sequence", { input: "draw", draws: "sequence" }, {}],
    ["momentum", { momentum: { factor: 0.7, step: 1 } }, {}],
    ["momentum before a norm", { momentum: { factor: 0.7, step: 0.5, isPostNorm: true } }, {}],
    [
      "momentum that begins as Adam's, with routes of the layer before",
      {
        input: "previous-layer",
        momentum: { factor: 0.6, step: 0.9, adam: { mean: 0.9, square: 0.99, step: 0.05 } },
      },
      {},
    ],
  ])("%s", async (_, options, request) => {
    const resident = await answers(options, request);
    const expected = routedLogits(options, [...tokens, ...resident.greedy], request);
    expect(nmse(resident.logits, expected.slice(0, tokens.length * VOCABULARY))).toBeLessThan(1e-10);
    // What each token was drawn from.
    for (const [i, id] of resident.greedy.entries()) {
      const at = (tokens.length - 1 + i) * VOCABULARY;
      const row = expected.subarray(at, at + VOCABULARY);
      expect(row.indexOf(Math.max(...row))).toBe(id);
    }
    expect(await answers(options, request, ONE_SLOT)).toEqual(resident);
  });
});
