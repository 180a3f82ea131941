import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { InstallForm } from "../../src/index.ts";
import { loadModelInline } from "../../src/inline.ts";
import type { Model } from "../../src/language_model.ts";
import { sharedAdapter } from "../support/adapter.ts";
import { expectGolden, loadInline, smallCase, smallModel } from "../support/engine.ts";
import { exists, type GoldenCase, nmse, readBytes, shared, tinyStoriesCases } from "../support/golden.ts";
import { folderOf, withoutScales } from "../support/hugging_face.ts";
import { familyFolders, qwen3moeFolder } from "../support/hugging_face_families.ts";
import { perplexity, storyIds } from "../support/perplexity.ts";

async function load(source: URL | readonly File[], install?: InstallForm): Promise<Model> {
  const adapter = await sharedAdapter();
  return loadModelInline(source, { adapter, store: "memory", ...(install ? { install } : {}) });
}

const gguf = (bytes: Uint8Array<ArrayBuffer>) => new File([bytes], "x.gguf");

async function logitsOf(model: Model, tokens: readonly number[]): Promise<Float32Array> {
  try {
    return await model.logits(tokens);
  } finally {
    await model.dispose();
  }
}

test.each(["as-is", "q8_0"] as const)(
  "a folder of three files gives the logits of its GGUF file, %s",
  async (install) => {
    const bytes = await withoutScales(await readBytes(smallModel()));
    const { tokens } = await smallCase();
    const expected = await logitsOf(await loadInline(gguf(bytes), { install }), tokens);
    const folder = await folderOf(bytes, qwen3moeFolder, { shards: 3, experts: "fused" });
    expect(await logitsOf(await load(folder, install), tokens)).toEqual(expected);
  },
);

const hasShared = await exists(shared("golden/archs/qwen3moe-yarn.gguf"));

/** Those whose GGUF files hold other numbers in another order: sums are taken in another order too. */
const permuted = Object.entries(familyFolders).filter(
  ([name, { isPermuted }]) => isPermuted || name === "deepseek2-moe",
);

describe.runIf(hasShared)("families whose GGUF files have attention's weights in another order", () => {
  test.each(permuted)("%s", async (name, family) => {
    const bytes = await withoutScales(await readBytes(shared(`golden/archs/${name}.gguf`)));
    const { tokens } = await smallCase();
    const expected = await logitsOf(await loadInline(gguf(bytes)), tokens);
    const folder = await folderOf(bytes, family);
    expect(nmse(await logitsOf(await load(folder), tokens), expected)).toBeLessThan(1e-10);
  });
});

const place = "models/tiny-stories-moe";
/** Of 103, as many as a software adapter has time for. */
const WINDOWS = 3;

describe.runIf(hasShared)("trained tiny-stories-moe, a folder over HTTP", () => {
  let asStored: Model;
  let quantised: Model;
  beforeAll(async () => {
    asStored = await load(shared(`${place}/`));
    quantised = await load(shared(`${place}/config.json`), "q8_0");
  });
  afterAll(async () => {
    await asStored.dispose();
    await quantised.dispose();
  });

  test("the logits and tokens that its F16 weights give", async () => {
    const [first, second] = await tinyStoriesCases(shared(`${place}/golden-F16`));
    await expectGolden(asStored, first as GoldenCase);
    const { tokens, greedy } = second as GoldenCase;
    await expectGolden(asStored, { tokens, greedy: greedy.slice(0, 24) });
    expect(asStored.info).toMatchObject({ architecture: "qwen3moe", experts: 16, install: "as-is" });
    expect(asStored.info.id).not.toBe(quantised.info.id);
  });

  test("the logits that llama.cpp's Q8_0 gives, quantised here", async () => {
    const [first] = await tinyStoriesCases(shared(`${place}/golden-Q8_0`));
    const { tokens, logits } = first as GoldenCase;
    expect(nmse(await quantised.logits(tokens), logits ?? [])).toBeLessThanOrEqual(1e-6);
    expect(quantised.info.install).toBe("q8_0");
  });

  test("the same ids for its golden prompts, and a story", async () => {
    const { tokenizer } = asStored;
    const { cases } = (await (await fetch(shared(`${place}/golden-F16.json`))).json()) as {
      cases: { prompt: string; tokens: number[] }[];
    };
    for (const { prompt, tokens } of cases) expect(tokenizer?.encode(prompt), prompt).toEqual(tokens);
    expect(tokenizer?.stopTokens).toEqual([2047]);
  });

  test("perplexity of text it was not trained on: Q8_0 within 0.5 % of F16", async () => {
    const text = new TextDecoder().decode(await readBytes(shared(`${place}/heldout.txt`)));
    const ids = storyIds(asStored, text);
    expect(ids).toContain(2047);
    const f16 = await perplexity(asStored, ids, WINDOWS);
    const q8 = await perplexity(quantised, ids, WINDOWS);
    console.log(`perplexity of ${WINDOWS} windows: F16 ${f16.toFixed(6)}, Q8_0 ${q8.toFixed(6)}`);
    // A model that does not predict has one near its 2048 tokens.
    expect(f16).toBeLessThan(40);
    expect(Math.abs(q8 / f16 - 1)).toBeLessThan(0.005);
  });
});
