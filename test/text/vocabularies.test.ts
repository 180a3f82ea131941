import { describe, expect, it } from "vitest";
import { SluiceError } from "../../src/errors.ts";
import type { Metadata } from "../../src/source/model_file.ts";
import { tokenizerFromGguf } from "../../src/text/from_gguf.ts";
import { tokenizerFromJson } from "../../src/text/from_json.ts";
import { preTokenizerNamed } from "../../src/text/pre_tokenizers.ts";
import { buildPreTokenizer } from "../../src/text/text_splitter.ts";
import { existing, sentencePieceMetadata } from "./support.ts";

function failure(run: () => unknown): SluiceError {
  try {
    run();
  } catch (error) {
    if (error instanceof SluiceError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

/** A byte-level vocabulary of a few characters. */
function byteLevel(more: Metadata = {}): Metadata {
  return {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "gpt-2",
    "tokenizer.ggml.tokens": ["a", "b", "ab", "Ġ", "Ġa", "<|im_end|>", "<think>"],
    "tokenizer.ggml.token_type": [1, 1, 1, 1, 1, 4, 4],
    "tokenizer.ggml.merges": ["a b", "Ġ a"],
    "tokenizer.ggml.eos_token_id": 3,
    ...more,
  };
}

describe("a model file's vocabulary", () => {
  it("may be missing", () => {
    expect(tokenizerFromGguf({})).toBeUndefined();
    for (const model of ["test", "no_vocab", "none"]) {
      expect(tokenizerFromGguf({ "tokenizer.ggml.model": model })).toBeUndefined();
    }
  });

  it("matches user-defined tokens in any text, but not those that end a turn", () => {
    const tokenizer = existing(tokenizerFromGguf(byteLevel()));
    expect(tokenizer.encode("ab<think>a")).toEqual([2, 6, 0]);
    expect(tokenizer.encode("<|im_end|>", { parseSpecial: true })).toEqual([5]);
    expect(tokenizer.encode("<|im_end|>")).not.toContain(5);
    expect(tokenizer.decode([2, 6, 5])).toBe("ab<think>");
    expect(tokenizer.stopTokens).toEqual([3, 5]);
  });

  it("may give its ids as 64-bit integers", () => {
    const tokenizer = existing(
      tokenizerFromGguf(
        byteLevel({ "tokenizer.ggml.eos_token_id": 3n, "tokenizer.ggml.eot_token_id": 0xffffffffn }),
      ),
    );
    expect(tokenizer.stopTokens).toEqual([3, 5]);
  });

  it("may leave out the types of its tokens", () => {
    const { "tokenizer.ggml.token_type": _, ...metadata } = sentencePieceMetadata(["▁", "a"]);
    const tokenizer = existing(tokenizerFromGguf(metadata));
    expect(tokenizer.encode("aé")).toEqual([1, 259, 260, 3 + 0xc3, 3 + 0xa9]);
    expect(tokenizer.encode("</s>", { addSpecial: false })).not.toContain(2);
  });

  it("leaves out white space after turn markers for the models that were trained so", () => {
    const metadata = sentencePieceMetadata(["▁", "a", "<|user|>"], { "general.name": "Phi-3 mini" });
    const types = [...(metadata["tokenizer.ggml.token_type"] as number[])];
    types[types.length - 1] = 3;
    const tokenizer = existing(tokenizerFromGguf({ ...metadata, "tokenizer.ggml.token_type": types }));
    const ids = tokenizer.encode("<|user|>\n a", { addSpecial: false, parseSpecial: true });
    expect(ids).toEqual([261, 259, 260]);
  });

  it("is refused when it contradicts itself", () => {
    const short = failure(() => tokenizerFromGguf(byteLevel({ "tokenizer.ggml.token_type": [1, 1] })));
    expect(short.code).toBe("bad-model-file");
    expect(short.details).toMatchObject({ tokens: 7, entries: 2 });
    const range = failure(() => tokenizerFromGguf(byteLevel({ "tokenizer.ggml.eos_token_id": 7 })));
    expect(range.details).toMatchObject({ id: 7, tokens: 7 });
    const twice = failure(() =>
      tokenizerFromGguf(
        byteLevel({ "tokenizer.ggml.tokens": ["a", "b", "a"], "tokenizer.ggml.token_type": [1, 1, 1] }),
      ),
    );
    expect(twice.details).toMatchObject({ first: 0, id: 2 });
    const merge = failure(() => tokenizerFromGguf(byteLevel({ "tokenizer.ggml.merges": ["a b", "ab"] })));
    expect(merge.details).toMatchObject({ merge: 1 });
    for (const error of [short, range, twice, merge]) {
      expect(error.code).toBe("bad-model-file");
      expect(error.remedy).not.toBe("");
    }
  });

  it("is refused by name when it is of a kind that is not known", () => {
    const pre = failure(() => tokenizerFromGguf(byteLevel({ "tokenizer.ggml.pre": "klingon" })));
    expect(pre.code).toBe("unsupported-model");
    expect(pre.message).toContain("klingon");
    const kind = failure(() => tokenizerFromGguf({ "tokenizer.ggml.model": "rwkv" }));
    expect(kind.code).toBe("unsupported-model");
    expect(kind.message).toContain("rwkv");
  });
});

describe("splitting rules", () => {
  const split = (name: string, text: string): string[] => {
    const configs = preTokenizerNamed(name).patterns.map((Regex) => ({ type: "Split", pattern: { Regex } }));
    return buildPreTokenizer(configs)(text, 0);
  };

  it.each([
    ["gpt-2", ["Hello", " world", "'s", " 12345", "!", "  ", " x"]],
    ["default", ["Hello", " world", "'", "s", " ", "123", "45", "!", "  ", " x"]],
    ["starcoder", ["Hello", " world", "'s", " ", "1", "2", "3", "4", "5", "!", "  ", " x"]],
    ["llama-bpe", ["Hello", " world", "'s", " ", "123", "45", "!", "  ", " x"]],
    ["qwen2", ["Hello", " world", "'s", " ", "1", "2", "3", "4", "5", "!", "  ", " x"]],
    ["gpt-4o", ["Hello", " world's", " ", "123", "45", "!", "  ", " x"]],
    ["kimi-k2", ["Hello", " world's", " ", "123", "45", "!", "  ", " x"]],
    ["deepseek-v3", ["Hello", " world", "'s", " ", "123", "45", "!", "  ", " x"]],
    ["afmoe", ["Hello", " world", "'s", " ", "12", "345", "!", "  ", " x"]],
    ["tiny_aya", ["Hello", " world's", " ", "12", "345", "!", "  ", " x"]],
    ["gemma4", ["Hello world's 12345!   x"]],
  ])("%s", (name, pieces) => {
    expect(split(name, pieces.join(""))).toEqual(pieces);
  });

  it("keep marks with their letters or not", () => {
    expect(split("qwen2", "ne\u0301e")).toEqual(["ne", "\u0301e"]);
    expect(split("qwen35", "ne\u0301e")).toEqual(["ne\u0301e"]);
  });

  it("split where case and script change", () => {
    expect(split("gpt-4o", "parseHTTPRequest")).toEqual(["parse", "HTTPRequest"]);
    expect(split("kimi-k2", "在apple工作")).toEqual(["在", "apple", "工作"]);
  });

  it.each(
    [
      "falcon",
      "minicpm5",
      "laguna",
      "bailingmoe",
      "seed-coder",
      "exaone-moe",
      "tekken",
      "youtu",
      "deepseek-llm",
    ].concat(["deepseek-coder", "bloom", "viking", "superbpe", "sarvam-moe"]),
  )("%s loses nothing", (name) => {
    const text = "It's a tEST,\r\n\n  mit Äpfeln: 1234567 ½ ~ 我想在apple工作 한국어 🦙👩‍🚀\t. ";
    expect(split(name, text).join("")).toBe(text);
  });
});

describe("tokenizer.json", () => {
  const llamaLike = {
    added_tokens: [
      { id: 0, content: "<unk>", special: true, normalized: false },
      { id: 1, content: "<s>", special: true, normalized: false },
      { id: 2, content: "</s>", special: true, normalized: false },
      { id: 9, content: "<tool>", special: false, normalized: false, lstrip: true, rstrip: true },
    ],
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "Prepend", prepend: "▁" },
        { type: "Replace", pattern: { String: " " }, content: "▁" },
      ],
    },
    pre_tokenizer: null,
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      pair: [],
      special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
    },
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: {
      type: "BPE",
      unk_token: "<unk>",
      byte_fallback: true,
      vocab: { "<unk>": 0, "<s>": 1, "</s>": 2, "▁": 3, a: 4, b: 5, "▁a": 6, "<0xC3>": 7, "<0xA9>": 8 },
      merges: [["▁", "a"]],
    },
  };

  it("is read with its normaliser, template, decoder and byte tokens", () => {
    const tokenizer = tokenizerFromJson(llamaLike, { bos_token: { content: "<s>" }, eos_token: "</s>" });
    expect(tokenizer.stopTokens).toEqual([2]);
    const ids = tokenizer.encode("ab aé");
    expect(ids).toEqual([1, 6, 5, 6, 7, 8]);
    expect(tokenizer.decode(ids)).toBe("ab aé");
    expect(tokenizer.encode("<s>", { addSpecial: false })).not.toContain(1);
    expect(tokenizer.encode("z", { addSpecial: false })).toEqual([3, 0]);
  });

  it("matches added tokens that are not special in any text, with the space around them", () => {
    const tokenizer = tokenizerFromJson(llamaLike);
    expect(tokenizer.encode("a <tool> a", { addSpecial: false })).toEqual([6, 9, 6]);
  });

  it("lets special tokens be named inside of spans only, also those found in normalised text", () => {
    const normalized = llamaLike.added_tokens.map((token) => ({ ...token, normalized: true }));
    for (const added_tokens of [llamaLike.added_tokens, normalized]) {
      const tokenizer = tokenizerFromJson({ ...llamaLike, added_tokens });
      const encode = (parseSpecial: { start: number; end: number }[]) =>
        tokenizer.encode("a</s>b</s>", { addSpecial: false, parseSpecial }).filter((id) => id === 2);
      expect(encode([])).toEqual([]);
      expect(encode([{ start: 1, end: 5 }])).toEqual([2]);
      expect(encode([{ start: 2, end: 10 }])).toEqual([2]);
      expect(
        encode([
          { start: 0, end: 4 },
          { start: 4, end: 9 },
        ]),
      ).toEqual([]);
      expect(encode([{ start: 0, end: 10 }])).toEqual([2, 2]);
    }
  });

  it("follows what the configuration says of begin and end tokens", () => {
    const names = { bos_token: "<s>", eos_token: "</s>" };
    const without = tokenizerFromJson(llamaLike, { ...names, add_bos_token: false, add_eos_token: true });
    expect(without.encode("a")).toEqual([6, 2]);
    const plain = { ...llamaLike, post_processor: null };
    expect(tokenizerFromJson(plain, names).encode("a")).toEqual([6]);
    expect(tokenizerFromJson(plain, { ...names, add_bos_token: true }).encode("a")).toEqual([1, 6]);
  });

  it("may hold a unigram model", () => {
    const tokenizer = tokenizerFromJson({
      added_tokens: [{ id: 0, content: "<unk>", special: true, normalized: false }],
      pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "always" },
      decoder: { type: "Metaspace", replacement: "▁", prepend_scheme: "always" },
      model: {
        type: "Unigram",
        unk_id: 0,
        vocab: [
          ["<unk>", 0],
          ["▁a", -1],
          ["b", -2],
          ["▁", -3],
        ],
      },
    });
    expect(tokenizer.encode("ab ax")).toEqual([1, 2, 1, 0]);
    expect(tokenizer.decode([1, 2, 1])).toBe("ab a");
  });

  it("is refused when it is none, or has parts that are not supported", () => {
    expect(failure(() => tokenizerFromJson(null)).code).toBe("bad-model-file");
    expect(failure(() => tokenizerFromJson({ model: {} })).code).toBe("bad-model-file");
    const model = { ...llamaLike, model: { type: "WordPiece", vocab: {} } };
    expect(failure(() => tokenizerFromJson(model)).message).toContain("WordPiece");
    const decoder = { ...llamaLike, decoder: { type: "CTC" } };
    expect(failure(() => tokenizerFromJson(decoder)).message).toContain("CTC");
    const normalizer = { ...llamaLike, normalizer: { type: "Rot13" } };
    const error = failure(() => tokenizerFromJson(normalizer));
    expect(error.code).toBe("unsupported-model");
    expect(error.message).toContain("Rot13");
  });
});
