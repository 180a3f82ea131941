import { SluiceError } from "../errors.ts";
import type { Spelling } from "./vocabulary.ts";

/**
 * How a byte-pair vocabulary splits text before it merges. Model files only name the rule; the patterns are
 * those of the `tokenizer.json` files the models were published with, in Oniguruma's dialect. Each pattern
 * splits every piece the one before it left: its matches become pieces, and so does the text between them.
 */
export interface PreTokenizer {
  readonly patterns: readonly string[];
  /** A piece that is a token stays whole. Default false. */
  readonly ignoreMerges?: boolean;
  /** Begin-of-sequence token where the file does not say. Default false. */
  readonly addBos?: boolean;
  /** Default `byte-level`. */
  readonly spelling?: Spelling;
}

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const SPACES = "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const DIGIT = "\\p{N}";
const UP_TO_THREE_DIGITS = "\\p{N}{1,3}";
/** Groups of three counted from the right end of a number. */
const THREE_DIGITS_FROM_RIGHT = "\\p{N}{1,3}(?=(?:\\p{N}{3})*(?!\\p{N}))";
const ASCII_THREE_DIGITS = "[0-9][0-9][0-9]";
const LINES = "[^\\n]+|\\n+";

const GPT2_WORDS = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/** Words with one leading character that is neither letter, digit nor line end. */
const WORD = "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+";
const SYMBOLS = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*";
const ONE_DIGIT_WORDS = `${CONTRACTIONS}|${WORD}|${DIGIT}|${SYMBOLS}|${SPACES}`;
const THREE_DIGIT_WORDS = `${CONTRACTIONS}|${WORD}|${UP_TO_THREE_DIGITS}|${SYMBOLS}|${SPACES}`;

/** Words split where case changes: upper case before lower case. `not` narrows the letters. */
function casedWords(tail: string, not = ""): string {
  const upper = `[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}${not}]`;
  const lower = `[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}${not}]`;
  const lead = "[^\\r\\n\\p{L}\\p{N}]?";
  return `${lead}${upper}*${lower}+${tail}|${lead}${upper}+${lower}*${tail}`;
}
const SYMBOLS_OR_PATHS = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*";
const CASED_THREE_DIGITS = [
  casedWords(`${CONTRACTIONS}?`),
  UP_TO_THREE_DIGITS,
  SYMBOLS_OR_PATHS,
  SPACES,
].join("|");
const CASED_ONE_DIGIT = [casedWords(""), DIGIT, SYMBOLS_OR_PATHS, SPACES].join("|");
const CASED_CONTRACTED_ONE_DIGIT = [casedWords(`${CONTRACTIONS}?`), DIGIT, SYMBOLS_OR_PATHS, SPACES].join(
  "|",
);
const HAN_THEN_CASED = [
  "\\p{Han}+",
  casedWords(`${CONTRACTIONS}?`, "&&[^\\p{Han}]"),
  UP_TO_THREE_DIGITS,
  SYMBOLS,
  SPACES,
].join("|");

/** ASCII punctuation that opens a word, words with their marks, runs of punctuation and symbols. */
const MARKED_WORDS = [
  "[!-/:-@\\[-`{-~][A-Za-z]+",
  "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+",
  " ?[\\p{P}\\p{S}]+[\\r\\n]*",
  SPACES,
].join("|");
const HAN_AND_KANA = "[\\u4E00-\\u9FA5\\u3040-\\u309F\\u30A0-\\u30FF]+";

/** Letters that have case, as far as the Unicode version these vocabularies were trained with knew them. */
const CASED_LETTERS =
  "A-Za-z\\u00B5\\u00C0-\\u00D6\\u00D8-\\u00F6\\u00F8-\\u01BA\\u01BC-\\u01BF\\u01C4-\\u0293" +
  "\\u0295-\\u02AF\\u0370-\\u0373\\u0376\\u0377\\u037B-\\u037D\\u037F\\u0386\\u0388-\\u038A\\u038C" +
  "\\u038E-\\u03A1\\u03A3-\\u03F5\\u03F7-\\u0481\\u048A-\\u052F\\u0531-\\u0556\\u10A0-\\u10C5" +
  "\\u13A0-\\u13F5\\u13F8-\\u13FD\\u1C90-\\u1CBA\\u1CBD-\\u1CBF\\u1D00-\\u1D2B\\u1D6B-\\u1D77" +
  "\\u1D79-\\u1D9A\\u1E00-\\u1F15\\u1F18-\\u1F1D\\u1F20-\\u1F45\\u1F48-\\u1F4D\\u1F50-\\u1F57\\u1F59" +
  "\\u1F5B\\u1F5D\\u1F5F-\\u1F7D\\u1F80-\\u1FB4\\u1FB6-\\u1FBC\\u1FBE\\u1FC2-\\u1FC4\\u1FC6-\\u1FCC" +
  "\\u1FD0-\\u1FD3\\u1FD6-\\u1FDB\\u1FE0-\\u1FEC\\u1FF2-\\u1FF4\\u1FF6-\\u1FFC\\u2102\\u2107" +
  "\\u210A-\\u2113\\u2115\\u2119-\\u211D\\u2124\\u2126\\u2128\\u212A-\\u212D\\u212F-\\u2134\\u2139" +
  "\\u213C-\\u213F\\u2145-\\u2149\\u214E\\u2183\\u2184\\u2C00-\\u2C7B\\u2C7E-\\u2CE4\\u2CEB-\\u2CEE" +
  "\\u2CF2\\u2CF3\\uA640-\\uA66D\\uA680-\\uA69B\\uA722-\\uA76F\\uA771-\\uA787\\uA78B-\\uA78E" +
  "\\uAB70-\\uABBF\\uFB00-\\uFB06\\uFB13-\\uFB17\\uFF21-\\uFF3A\\uFF41-\\uFF5A\\u{10400}-\\u{1044F}" +
  "\\u{104B0}-\\u{104D3}\\u{104D8}-\\u{104FB}\\u{10C80}-\\u{10CB2}\\u{10CC0}-\\u{10CF2}" +
  "\\u{118A0}-\\u{118DF}\\u{1E900}-\\u{1E943}";
const EAST_ASIAN = "[\\u4E00-\\u9FA5\\u0800-\\u4E00\\uAC00-\\uD7FF]+";
const PUNCTUATION = "[!-/:-~\\uFF01-\\uFF0F\\uFF1A-\\uFF5E\\u2018-\\u201F\\u3000-\\u3002]+";
const ASIAN_SCRIPTS =
  "[\\u4E00-\\u9FFF\\u3400-\\u4DBF\\uF900-\\uFAFF\\u3040-\\u309F\\u30A0-\\u30FF\\uFF65-\\uFF9F" +
  "\\u2F00-\\u2FDF\\u0E40-\\u0E7F\\u0E80-\\u0EFF\\u1780-\\u17FF\\u1000-\\u109F\\uAA60-\\uAA7F" +
  "\\uA9E0-\\uA9FF\\uAC00-\\uD7AF\\u1100-\\u11FF]+";
const BETWEEN_STOPS = " ?[^(\\s|.,!?\\u2026\\u3002\\uFF0C\\u3001\\u0964\\u06D4\\u060C)]+";

/** Rules and the names `tokenizer.ggml.pre` knows them by; the list of names is llama.cpp's. */
const RULES: readonly (readonly [PreTokenizer, string])[] = [
  [
    { patterns: [GPT2_WORDS] },
    "gpt-2 phi-2 mpt olmo jais trillion granite-docling exaone4 gigachat a.x-4.0 mellum modern-bert " +
      "roberta-bpe jina-es jina-de jina-v1-en jina-v2-es jina-v2-de jina-v2-code",
  ],
  [
    { patterns: [DIGIT, GPT2_WORDS] },
    "starcoder refact command-r smollm codeshell exaone minerva-7b mellum2",
  ],
  [{ patterns: ["[\\p{P}$+<=>^~|]+", GPT2_WORDS, "\\p{N}+", ASCII_THREE_DIGITS] }, "default"],
  [{ patterns: ["[\\p{P}$+<=>^~|`]+", GPT2_WORDS, ASCII_THREE_DIGITS] }, "falcon"],
  [
    { patterns: [THREE_DIGIT_WORDS], ignoreMerges: true, addBos: true },
    "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
  ],
  [{ patterns: [THREE_DIGIT_WORDS] }, "dbrx smaug-bpe glm4 chatglm-bpe"],
  [{ patterns: [UP_TO_THREE_DIGITS, THREE_DIGIT_WORDS], ignoreMerges: true }, "minicpm5"],
  [
    { patterns: [ONE_DIGIT_WORDS] },
    "qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2",
  ],
  [
    {
      patterns: [
        `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|${DIGIT}|` +
          ` ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|${SPACES}`,
      ],
    },
    "qwen35",
  ],
  [{ patterns: [LINES, ONE_DIGIT_WORDS] }, "laguna"],
  [
    { patterns: [`'(?i:[sdmt]|ll|ve|re)|${WORD}|${DIGIT}|${SYMBOLS}|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+`] },
    "bailingmoe bailingmoe2 llada-moe",
  ],
  [{ patterns: [`${CONTRACTIONS}|${WORD}|${DIGIT}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|${SPACES}`] }, "seed-coder"],
  [
    {
      patterns: [
        `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|${DIGIT}|` +
          " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
      ],
    },
    "exaone-moe",
  ],
  [{ patterns: [CASED_THREE_DIGITS] }, "gpt-4o llama4 kanana2 talkie minimax-m2"],
  [{ patterns: [THREE_DIGITS_FROM_RIGHT, CASED_THREE_DIGITS] }, "tiny_aya cohere2moe"],
  [{ patterns: [CASED_ONE_DIGIT], ignoreMerges: true, addBos: true }, "tekken"],
  [{ patterns: [HAN_THEN_CASED] }, "kimi-k2"],
  [
    {
      patterns: [
        "[\\uAC00-\\uD7A3\\u3131-\\u318E]+|" +
          "[\\uFF01\\u2026\\u201C\\u201D\\u2018\\u2019\\u2014\\uFF1A\\uFF1B\\uFF0C" +
          "\\u3001-\\u303F\\uFE30-\\uFE4F]+|[\\u3105-\\u312F]+|" +
          HAN_AND_KANA,
        CASED_CONTRACTED_ONE_DIGIT,
      ],
      ignoreMerges: true,
    },
    "youtu",
  ],
  [
    {
      patterns: ["[\\r\\n]", `\\s?[${CASED_LETTERS}]+`, `\\s?${PUNCTUATION}`, "\\s+$", EAST_ASIAN, "\\p{N}+"],
    },
    "deepseek-llm",
  ],
  [{ patterns: ["[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", EAST_ASIAN, DIGIT] }, "deepseek-coder"],
  [
    { patterns: [UP_TO_THREE_DIGITS, HAN_AND_KANA, MARKED_WORDS] },
    "deepseek-v3 hunyuan-dense hy_v4 joyai-llm",
  ],
  [{ patterns: [THREE_DIGITS_FROM_RIGHT, ASIAN_SCRIPTS, MARKED_WORDS] }, "afmoe"],
  [{ patterns: [BETWEEN_STOPS] }, "bloom poro-chat gpt3-finnish"],
  [{ patterns: [BETWEEN_STOPS, DIGIT] }, "viking"],
  [{ patterns: ["\\p{N}+", "(?=(\\d{3})+(?!\\d))"] }, "superbpe"],
  // Runs of line ends are tokens that no merge leads to.
  [{ patterns: [LINES], ignoreMerges: true, addBos: true, spelling: "sentencepiece" }, "gemma4"],
  [{ patterns: [LINES], spelling: "sentencepiece" }, "sarvam-moe"],
];

/**
 * The rule called `name`.
 * @throws `unsupported-model` for a name that is not known: other rules would give other ids, silently.
 */
export function preTokenizerNamed(name: string): PreTokenizer {
  for (const [rule, names] of RULES) if (names.split(" ").includes(name)) return rule;
  throw new SluiceError("unsupported-model", `the vocabulary splits text by an unknown rule, "${name}"`, {
    remedy: "Make the tokenizer from the model's tokenizer.json instead, or pass token ids.",
    details: { preTokenizer: name },
  });
}
