import { expect, test } from "vitest";
import { tokenizerFromFile } from "../../src/text/from_file.ts";

const json = {
  model: { type: "BPE", vocab: { a: 0, b: 1, ab: 2, "<end>": 3, "<turn>": 4 }, merges: ["a b"] },
  added_tokens: [
    { id: 3, content: "<end>", special: true },
    { id: 4, content: "<turn>", special: true },
  ],
  pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: false },
  decoder: { type: "ByteLevel" },
};
const texts = (more: Readonly<Record<string, unknown>> = {}) => ({
  "tokenizer.json": JSON.stringify(json),
  ...Object.fromEntries(Object.entries(more).map(([name, value]) => [name, JSON.stringify(value)])),
});

test("the texts of a folder make its tokenizer", () => {
  const tokenizer = tokenizerFromFile(texts());
  expect(tokenizer?.encode("aba")).toEqual([2, 0]);
  expect(tokenizer?.decode([2, 0])).toBe("aba");
  expect(tokenizer?.stopTokens).toEqual([]);
});

test.each([
  [{ "tokenizer_config.json": { eos_token: "<end>" } }, [3]],
  [{ "generation_config.json": { eos_token_id: 4 } }, [4]],
  [
    { "tokenizer_config.json": { eos_token: "<end>" }, "generation_config.json": { eos_token_id: [4, 3] } },
    [3, 4],
  ],
  [{ "generation_config.json": { eos_token_id: [99, "3", null] } }, []],
])("what ends a generation: %j", (more, expected) => {
  expect(tokenizerFromFile(texts(more))?.stopTokens).toEqual(expected);
});

test("without texts it is GGUF metadata, or nothing", () => {
  expect(tokenizerFromFile({})).toBeUndefined();
  expect(tokenizerFromFile({ "tokenizer.ggml.model": "no_vocab" })).toBeUndefined();
  expect(() => tokenizerFromFile({ "tokenizer.ggml.model": "other" })).toThrow(/other/);
});

test("a text that is not JSON", () => {
  const damaged = { "tokenizer.json": "<html>" };
  expect(() => tokenizerFromFile(damaged)).toThrow(expect.objectContaining({ code: "bad-model-file" }));
});
