import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { tokenizerFromJson } from "../../src/text/from_json.ts";
import { readTokenizer, streamed } from "./support.ts";

const shared = resolve(import.meta.dirname, "../../../shared");
const vocabularies = resolve(shared, "golden/tokenizers");
const tinyModel = resolve(shared, "models/tiny-stories-moe");

function readText(path: string): string {
  return readFileSync(path, "utf8");
}

describe.runIf(existsSync(vocabularies))("llama.cpp's ids for the golden vocabularies", () => {
  it.each(["deepseek-llm", "gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2"])("%s", async (name) => {
    const path = resolve(vocabularies, `ggml-vocab-${name}.gguf`);
    const tokenizer = await readTokenizer(path);
    const texts = readText(`${path}.inp`).split("\n__ggml_vocab_test__\n");
    const lines = readText(`${path}.out`).trimEnd().split("\n");
    // The cases end with a separator, after which nothing comes.
    if (texts.at(-1) === "") texts.pop();
    expect(texts.length).toBe(lines.length);
    texts.forEach((text, index) => {
      const line = (lines[index] as string).trim();
      const ids = line === "" ? [] : line.split(" ").map(Number);
      expect(tokenizer.encode(text, { addSpecial: false }), JSON.stringify(text)).toEqual(ids);
      expect(tokenizer.decode(ids), JSON.stringify(text)).toBe(text);
      expect(streamed(tokenizer, ids).join("")).toBe(text);
    });
  });
});

describe.runIf(existsSync(tinyModel))("the tiny model", () => {
  interface Golden {
    readonly cases: readonly { prompt: string; tokens: number[]; greedy: number[]; text: string }[];
  }
  const json = (name: string): unknown => JSON.parse(readText(resolve(tinyModel, name)));

  it.each(["tokenizer.json", "tiny-stories-moe-Q4_K_M.gguf"])("tokens and texts by %s", async (file) => {
    const tokenizer = file.endsWith(".gguf")
      ? await readTokenizer(resolve(tinyModel, file))
      : tokenizerFromJson(json(file), json("tokenizer_config.json"));
    expect(tokenizer.stopTokens).toEqual([2047]);
    for (const { prompt, tokens, greedy, text } of (json("golden-Q4_K_M.json") as Golden).cases) {
      expect(tokenizer.encode(prompt)).toEqual(tokens);
      expect(tokenizer.decode(tokens)).toBe(prompt);
      expect(tokenizer.decode(greedy)).toBe(text);
    }
  });

  it("gives the same ids for a long text from both files", async () => {
    const fromGguf = await readTokenizer(resolve(tinyModel, "tiny-stories-moe-Q4_K_M.gguf"));
    const fromJson = tokenizerFromJson(json("tokenizer.json"), json("tokenizer_config.json"));
    const text = readText(resolve(tinyModel, "heldout.txt"));
    const ids = fromGguf.encode(text);
    expect(fromJson.encode(text)).toEqual(ids);
    expect(fromGguf.decode(ids)).toBe(text);
  });
});
