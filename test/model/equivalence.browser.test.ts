import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Gpu, GpuOptions } from "../../src/gpu/gpu.ts";
import {
  decodeLogits,
  type OpenRunner,
  openRunner,
  prefillLogits,
  smallCase,
  smallModel,
} from "../support/engine.ts";
import { fixture, nmse, readBytes, tinyStoriesCases, tinyStoriesModel } from "../support/golden.ts";
import { openGpu } from "../support/gpu.ts";
import { seeded } from "../support/random.ts";
import { GgufEdit } from "./gguf_edit.ts";

const MAX_RELATIVE_ERROR = 1e-5;
const F32 = 0;

const opened: Gpu[] = [];

async function open(source: URL | File, chunkTokens?: number, options: GpuOptions = {}): Promise<OpenRunner> {
  const gpu = await openGpu(options);
  opened.push(gpu);
  return openRunner(gpu, source, { chunkTokens, contextTokens: 64 });
}

afterAll(() => {
  for (const gpu of opened) gpu.destroy();
});

function expectSame(actual: Float32Array, expected: Float32Array): void {
  expect(Math.sqrt(nmse(actual, expected)), "relative error").toBeLessThanOrEqual(MAX_RELATIVE_ERROR);
}

function expectBitEqual(actual: Float32Array, expected: Float32Array): void {
  const different = actual.findIndex((value, i) => !Object.is(value, expected[i]));
  expect(different, "first logit that differs").toBe(-1);
  expect(actual.length).toBe(expected.length);
}

const smallPrompt = (await smallCase()).tokens;
const [, , stories] = await tinyStoriesCases(fixture("golden-Q4_K_M"));
const storyPrompt = [...(stories?.tokens ?? []), ...(stories?.greedy ?? [])];

describe.each([
  ["as many query as key heads, biases", smallModel(), smallPrompt, [24, 17, 9, 8, 7, 1]],
  ["two query heads to a key head", tinyStoriesModel(), storyPrompt, [25]],
] as const)("%s", (_, file, prompt, lengths) => {
  let whole: OpenRunner;
  let eights: OpenRunner;

  beforeAll(async () => {
    whole = await open(file, 64);
    eights = await open(file, 8);
  });

  // Longest first: what a longer prompt left in the cache may not show in a shorter one.
  test.each(lengths)("prefill whole = in chunks = decode, %i tokens", async (length) => {
    const tokens = prompt.slice(0, length);
    expect(tokens).toHaveLength(length);
    const expected = await prefillLogits(whole, tokens);
    expectSame(await prefillLogits(eights, tokens), expected);
    expectSame(await decodeLogits(whole, tokens), expected);
  });
});

describe("buffers no larger than a binding may be", () => {
  let whole: OpenRunner;

  beforeAll(async () => {
    whole = await open(smallModel());
    expect(whole.buffers.get("experts of site 0")).toHaveLength(1);
  });

  test("8 experts in buffers of 3, 3 and 2: the same bits", async () => {
    const pageBytes = whole.pages.sites[0]?.[0]?.bytes ?? 0;
    const split = await open(smallModel(), undefined, { maxBindingBytes: 3 * pageBytes + 4 });
    expect(split.buffers.get("experts of site 0")).toHaveLength(3);
    const prompt = smallPrompt.slice(0, 20);
    expectBitEqual(await prefillLogits(split, prompt), await prefillLogits(whole, prompt));
    expectBitEqual(await decodeLogits(split, prompt), await decodeLogits(whole, prompt));
  });

  test("a vocabulary of three buffers, embedding and output in one: the same bits", async () => {
    const [vocabulary, width] = [70_000, 128];
    const random = seeded(7);
    const table = Float32Array.from({ length: vocabulary * width }, () => random() - 0.5);
    const file = new GgufEdit(await readBytes(smallModel()))
      .replace("token_embd.weight", [width, vocabulary], F32, new Uint8Array(table.buffer))
      .remove("output.weight")
      .file();
    const whole = await open(file);
    const split = await open(file, undefined, { maxBindingBytes: 17 * 2 ** 20 });
    expect(whole.buffers.get("embedding")).toHaveLength(1);
    const pages = whole.pages.denseGroups[0] ?? [];
    expect(pages).toHaveLength(3);
    const buffers = pages.flatMap(({ label }) => split.buffers.get(label) ?? []);
    expect(new Set(buffers).size).toBe(3);
    const prompt = [0, 32_767, 32_768, 65_536, vocabulary - 1];
    expectBitEqual(await prefillLogits(split, prompt), await prefillLogits(whole, prompt));
    expectBitEqual(await decodeLogits(split, prompt), await decodeLogits(whole, prompt));
  });
});
