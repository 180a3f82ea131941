import { afterEach, describe, expect, test, vi } from "vitest";
import type { TokenLogprobs } from "../../src/api.ts";
import { loadModel } from "../../src/client.ts";
import type { Model } from "../../src/language_model.ts";
import { collect, failure, smallCase, smallModel } from "../support/engine.ts";
import { readBytes } from "../support/golden.ts";
import { GgufEdit } from "./gguf_edit.ts";

/** What only the page's side of the worker boundary can get wrong; the rest is tested in one thread. */

const { tokens, greedy } = await smallCase();
const memory = { store: "memory" } as const;

afterEach(() => vi.unstubAllGlobals());

test("errors of the engine arrive whole", async () => {
  const bytes = await readBytes(smallModel());
  const file = new GgufEdit(bytes).set("qwen3moe.expert_used_count", 9).file();
  const { details, message } = await failure("bad-model-file", () => loadModel(file, memory));
  expect(details).toEqual({ value: 9, least: 1, most: 8 });
  expect(message).toContain("expert_used_count");
  await failure("network", () => loadModel("/fixtures/no-such-model.gguf", memory));
});

test("a second load of the same address fetches nothing and computes the same", async () => {
  const url = new URL(`?load=${crypto.randomUUID()}`, smallModel());
  const first = await loadModel(url);
  expect((await first.stats()).bytesFetched).toBeGreaterThan(1_900_000);
  expect(await collect(first.generateTokens(tokens, { maxTokens: 10 }))).toEqual(greedy.slice(0, 10));
  // What the background has not stored yet, a second load would have to fetch.
  await first.install();
  await first.dispose();
  const second = await loadModel(url);
  expect((await second.stats()).bytesFetched).toBe(0);
  expect(await collect(second.generateTokens(tokens, { maxTokens: 10 }))).toEqual(greedy.slice(0, 10));
  await expectConstrained(second);
  await second.dispose();
});

/** Masks go to the engine with each request for a token, log probabilities come back with it. */
async function expectConstrained(model: Model): Promise<void> {
  const masks = [Uint32Array.of(1 << 5, 0, 0, 0), Uint32Array.of(0, 0, 0, 1 << 4)];
  const told: TokenLogprobs[] = [];
  const options = {
    constraint: { allowed: () => masks[told.length], accept: () => {} },
    onLogprobs: (token: TokenLogprobs) => void told.push(token),
    topLogprobs: 1,
  };
  expect(await collect(model.generateTokens(tokens, { maxTokens: 2, ...options }))).toEqual([5, 100]);
  expect(told.map(({ id }) => id)).toEqual([5, 100]);
  expect(told[0]?.top).toEqual([{ id: greedy[0], logprob: expect.any(Number) }]);
}

describe("abort", () => {
  test.each(["open", "load"])("while loading, at %s", async (at) => {
    const abort = new AbortController();
    const onProgress = ({ phase }: { phase: string }) => {
      if (phase === at) abort.abort();
    };
    await failure("aborted", () => loadModel(smallModel(), { ...memory, signal: abort.signal, onProgress }));
  });

  test("before and while generating, after which the model goes on; early leaving as well", async () => {
    const model = await loadModel(smallModel(), memory);
    const signal = AbortSignal.abort();
    await failure("aborted", () => collect(model.generateTokens(tokens, { signal })));
    const abort = new AbortController();
    const got: number[] = [];
    await failure("aborted", async () => {
      for await (const token of model.generateTokens(tokens, { signal: abort.signal })) {
        got.push(token);
        if (got.length === 5) abort.abort();
      }
    });
    expect(got).toEqual(greedy.slice(0, 5));
    for await (const _ of model.generateTokens(tokens)) break;
    const stream = model.generateTokens(tokens, { maxTokens: 12 });
    await stream.next();
    await failure("bad-request", () => collect(model.generateTokens(tokens)));
    expect(await collect(stream)).toEqual(greedy.slice(1, 12));
    await model.dispose();
  });
});

describe("dispose", () => {
  test("while a token is awaited: aborted", async () => {
    const model = await loadModel(smallModel(), memory);
    const stream = model.generateTokens(tokens);
    expect((await stream.next()).value).toBe(greedy[0]);
    const waiting = failure("aborted", () => collect(stream));
    await model.dispose();
    await waiting;
  });

  test("between two tokens: aborted; again: nothing; any other use: bad-request", async () => {
    const model = await loadModel(smallModel(), memory);
    let count = 0;
    await failure("aborted", async () => {
      for await (const _ of model.generateTokens(tokens)) {
        count += 1;
        await model.dispose();
      }
    });
    expect(count).toBe(1);
    await model.dispose();
    await failure("bad-request", () => collect(model.generateTokens(tokens)));
    await failure("bad-request", () => model.logits(tokens));
    await failure("bad-request", () => model.stats());
  });
});

test("a worker that dies ends the call, and every later one, with its message", async () => {
  const workers: Worker[] = [];
  const RealWorker = Worker;
  vi.stubGlobal(
    "Worker",
    class extends RealWorker {
      constructor(url: string | URL, options?: WorkerOptions) {
        super(url, options);
        workers.push(this);
      }
    },
  );
  const model = await loadModel(smallModel(), memory);
  expect(workers).toHaveLength(2);
  const stream = model.generateTokens(tokens);
  await stream.next();
  const waiting = failure("no-webgpu", () => collect(stream));
  for (const worker of workers) worker.terminate();
  workers[0]?.dispatchEvent(new ErrorEvent("error", { message: "out of luck" }));
  expect((await waiting).message).toContain("out of luck");
  await failure("no-webgpu", () => model.logits(tokens));
  await model.dispose();
});
