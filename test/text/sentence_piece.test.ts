import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Metadata } from "../../src/source/model_file.ts";
import { tokenizerFromGguf } from "../../src/text/from_gguf.ts";
import { existing, sentencePieceMetadata, streamed } from "./support.ts";

const PIECES = [
  "▁t",
  "he",
  "▁the",
  "▁a",
  "nd",
  "▁and",
  "▁",
  "t",
  "h",
  "e",
  "a",
  "n",
  "d",
  "ta",
  "and",
  "<",
  ">",
  "s",
];
const FIRST = 259;

function idOf(piece: string): number {
  return FIRST + PIECES.indexOf(piece);
}

function withMetadata(more: Metadata = {}) {
  return existing(tokenizerFromGguf(sentencePieceMetadata(PIECES, more)));
}

describe("SentencePiece merging by score", () => {
  const tokenizer = withMetadata();
  const encode = (text: string): number[] => tokenizer.encode(text, { addSpecial: false });

  it("joins the best pair first, not the first pair", () => {
    expect(encode("the and")).toEqual([idOf("▁the"), idOf("▁and")]);
    // "▁t" scores best, so "ta" is never reached.
    expect(encode("ta")).toEqual([idOf("▁t"), idOf("a")]);
  });

  it("joins as a search through all pairs does", () => {
    const scores = new Map(PIECES.map((piece, index) => [piece, -index]));
    const slow = (text: string): string[] => {
      const symbols = Array.from(`▁${text.replaceAll(" ", "▁")}`);
      for (;;) {
        let best = -1;
        let bestScore = Number.NEGATIVE_INFINITY;
        for (let at = 0; at + 1 < symbols.length; at++) {
          const score = scores.get(`${symbols[at]}${symbols[at + 1]}`);
          if (score !== undefined && score > bestScore) [best, bestScore] = [at, score];
        }
        if (best < 0) return symbols;
        symbols.splice(best, 2, `${symbols[best]}${symbols[best + 1]}`);
      }
    };
    const text = fc
      .array(fc.constantFrom(..."thead n"), { minLength: 1, maxLength: 40 })
      .map((a) => a.join(""));
    fc.assert(
      fc.property(text, (candidate) => {
        expect(encode(candidate)).toEqual(slow(candidate).map(idOf));
      }),
    );
  });

  it("spells what it has no token for in bytes", () => {
    const bytes = [0xf0, 0x9f, 0xa6, 0x99].map((byte) => 3 + byte);
    expect(encode("a🦙")).toEqual([idOf("▁a"), ...bytes]);
    expect(streamed(tokenizer, encode("a🦙"))).toEqual(["a", "", "", "", "🦙", ""]);
  });

  it("decodes what it encoded, whole and streamed", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.nat({ max: 3 }), (text, spaces) => {
        // The mark for spaces is the one character that does not come back.
        const candidate = " ".repeat(spaces) + text.replaceAll("▁", "_");
        const ids = tokenizer.encode(candidate);
        expect(tokenizer.decode(ids)).toBe(candidate);
        expect(streamed(tokenizer, ids).join("")).toBe(candidate);
      }),
    );
  });

  it("makes no special or byte token of text that spells one", () => {
    const spelled = existing(
      tokenizerFromGguf(
        sentencePieceMetadata([...PIECES, "<s", "<0", "0A", "<0x0A", "0", "x", "A", "<0x", "/", "</"]),
      ),
    );
    for (const text of ["<s>", "</s>", "<0x0A>"]) {
      const ids = spelled.encode(text, { addSpecial: false });
      expect(ids.every((id) => id >= FIRST)).toBe(true);
      expect(spelled.decode(ids)).toBe(text);
    }
  });
});

describe("the space before a text", () => {
  it("is taken away at the start of a text only", () => {
    const tokenizer = withMetadata();
    const ids = [idOf("▁the"), idOf("▁and")];
    expect(tokenizer.decode(ids)).toBe("the and");
    expect(streamed(tokenizer, ids)).toEqual(["the", " and", ""]);
    expect(tokenizer.decode([1, ...ids])).toBe("the and");
  });

  it("stays in a continuation", () => {
    const tokenizer = withMetadata();
    expect(tokenizer.decode([idOf("▁and")], { continuation: true })).toBe(" and");
    expect(tokenizer.stream({ continuation: true }).push(idOf("▁and"))).toBe(" and");
  });

  it("is not there where the file does not want it", () => {
    const tokenizer = withMetadata({ "tokenizer.ggml.add_space_prefix": false });
    expect(tokenizer.encode("ta", { addSpecial: false })).toEqual([idOf("ta")]);
    expect(tokenizer.decode([idOf("▁the")])).toBe(" the");
  });
});

describe("the tokens around a text", () => {
  it("begin it by default", () => {
    expect(withMetadata().encode("the")).toEqual([1, idOf("▁the")]);
    expect(withMetadata().encode("")).toEqual([1]);
  });

  it("follow the file", () => {
    const tokenizer = withMetadata({
      "tokenizer.ggml.add_bos_token": false,
      "tokenizer.ggml.add_eos_token": true,
    });
    expect(tokenizer.encode("the")).toEqual([idOf("▁the"), 2]);
  });

  it("are named by special text where that is allowed", () => {
    const ids = withMetadata().encode("<s>the</s>", { addSpecial: false, parseSpecial: true });
    expect(ids).toEqual([1, idOf("▁the"), 2]);
  });
});

describe("a unigram vocabulary", () => {
  const pieces = ["▁", "a", "b", "c", "ab", "▁ab", "abc", "bc", "▁a"];
  const scores = [-4, -3, -3, -3, -3.5, -4, -6.5, -2, -3];
  const tokenizer = existing(
    tokenizerFromGguf({
      "tokenizer.ggml.model": "t5",
      "tokenizer.ggml.tokens": ["<pad>", "</s>", "<unk>", ...pieces],
      "tokenizer.ggml.scores": [0, 0, 0, ...scores],
      "tokenizer.ggml.token_type": [3, 3, 2, ...pieces.map(() => 1)],
    }),
  );
  const idsOf = (...list: string[]): number[] => list.map((piece) => 3 + pieces.indexOf(piece));

  it("takes the segmentation of the highest total score and ends with the end token", () => {
    // ▁a + bc = -5 beats ▁ab + c = -7 and ▁ + abc = -10.5.
    expect(tokenizer.encode("abc")).toEqual([...idsOf("▁a", "bc"), 1]);
    expect(tokenizer.decode(tokenizer.encode("abc ab"))).toBe("abc ab");
  });

  it("uses the unknown token once for a run it cannot spell", () => {
    expect(tokenizer.encode("abxyz", { addSpecial: false })).toEqual([...idsOf("▁ab"), 2]);
  });
});
