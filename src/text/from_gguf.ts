import { SluiceError } from "../errors.ts";
import type { Metadata, MetadataValue } from "../source/model_file.ts";
import type { AddedToken } from "./added_tokens.ts";
import { assembleTokenizer, type TokenizerParts } from "./assemble.ts";
import { bytePairEncoder, mergeRanks } from "./byte_pair.ts";
import { type GgufVocabulary, list, readGgufVocabulary } from "./gguf_vocabulary.ts";
import { type PreTokenizer, preTokenizerNamed } from "./pre_tokenizers.ts";
import { scoredPairEncoder, unigramEncoder } from "./sentence_piece.ts";
import { buildNormalizer, buildPreTokenizer } from "./text_splitter.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { SPACE_MARK, TokenType, textTokenIds, unknownWriter } from "./vocabulary.ts";

/** Values of `tokenizer.ggml.model` that stand for "there is no text side". */
const NO_VOCABULARY: readonly MetadataValue[] = ["no_vocab", "none", "test"];

/**
 * The tokenizer that the metadata of a GGUF file describes. It gives the ids that llama.cpp gives, but for
 * special tokens, which text never becomes unless it is allowed to.
 *
 * @returns `undefined` for files without a vocabulary.
 * @throws `unsupported-model` for an unknown kind of vocabulary or splitting rule, `bad-model-file` for a
 *   vocabulary that contradicts itself.
 */
export function tokenizerFromGguf(metadata: Metadata): Tokenizer | undefined {
  const model = metadata["tokenizer.ggml.model"];
  if (model === undefined || NO_VOCABULARY.includes(model)) return undefined;
  if (model === "llama") return scoredPairTokenizer(metadata);
  if (model === "gpt2") return bytePairTokenizer(metadata, metadata["tokenizer.ggml.pre"] ?? "default");
  if (model === "gemma4") return bytePairTokenizer(metadata, model);
  if (model === "t5") return unigramTokenizer(metadata);
  throw new SluiceError(
    "unsupported-model",
    `vocabularies of the kind "${String(model)}" are not supported`,
    {
      remedy: "Use a model with a BPE, SentencePiece or unigram vocabulary, or pass token ids.",
      details: { tokenizerModel: String(model) },
    },
  );
}

function bytePairTokenizer(metadata: Metadata, pre: MetadataValue): Tokenizer {
  const rule = preTokenizerNamed(String(pre));
  const { spelling = "byte-level", addBos = false, ignoreMerges = false } = rule;
  const vocabulary = readGgufVocabulary(metadata, spelling);
  const encodeWord = bytePairEncoder({
    ids: textTokenIds(vocabulary),
    rankOf: mergeRanks(list(metadata, "tokenizer.ggml.merges")),
    ignoreMerges,
    writeUnknown: unknownWriter(vocabulary, { unknownId: vocabulary.special.unk }),
  });
  const split = buildPreTokenizer(splitConfigs(rule));
  return assembleTokenizer({
    ...commonParts(metadata, vocabulary, { addBos, addEos: false }),
    spacePrefix: false,
    encodeText(text, section, out) {
      const escaped = spelling === "sentencepiece" ? text.replaceAll(" ", SPACE_MARK) : text;
      for (const word of split(escaped, section)) encodeWord(word, out);
    },
  });
}

function splitConfigs({ patterns, spelling }: PreTokenizer): unknown[] {
  const splits = patterns.map((Regex) => ({ type: "Split", pattern: { Regex }, behavior: "Isolated" }));
  return spelling === "sentencepiece" ? splits : [...splits, { type: "ByteLevel", use_regex: false }];
}

function scoredPairTokenizer(metadata: Metadata): Tokenizer {
  const vocabulary = readGgufVocabulary(metadata, "sentencepiece", { bos: 1, eos: 2, unk: 0 });
  const spacePrefix = metadata["tokenizer.ggml.add_space_prefix"] !== false;
  const encode = scoredPairEncoder({
    ids: textTokenIds(vocabulary),
    scores: vocabulary.scores,
    writeUnknown: unknownWriter(vocabulary, { unknownId: vocabulary.special.unk }),
  });
  return assembleTokenizer({
    ...commonParts(metadata, vocabulary, { addBos: true, addEos: false }),
    spacePrefix,
    encodeText: (text, _section, out) =>
      encode((spacePrefix ? SPACE_MARK : "") + text.replaceAll(" ", SPACE_MARK), out),
  });
}

function unigramTokenizer(metadata: Metadata): Tokenizer {
  const vocabulary = readGgufVocabulary(metadata, "sentencepiece", { eos: 1, unk: 2 });
  const spacePrefix = metadata["tokenizer.ggml.add_space_prefix"] !== false;
  const steps: unknown[] = [];
  if (metadata["tokenizer.ggml.precompiled_charsmap"] !== undefined) steps.push({ type: "Precompiled" });
  if (metadata["tokenizer.ggml.remove_extra_whitespaces"] === true) {
    steps.push({ type: "Strip", strip_left: true, strip_right: true });
    steps.push({ type: "Replace", pattern: { Regex: " {2,}" }, content: " " });
  }
  const split = buildPreTokenizer([{ type: "Metaspace", prepend_scheme: spacePrefix ? "always" : "never" }]);
  const encode = unigramEncoder({
    ids: textTokenIds(vocabulary),
    scores: vocabulary.scores,
    writeUnknown: unknownWriter(vocabulary, { unknownId: vocabulary.special.unk, fuse: true }),
  });
  return assembleTokenizer({
    ...commonParts(metadata, vocabulary, { addBos: false, addEos: true }),
    spacePrefix,
    normalize: buildNormalizer(steps),
    encodeText(text, section, out) {
      for (const piece of split(text, section)) encode(piece, out);
    },
  });
}

type CommonParts = Pick<TokenizerParts, "vocabulary" | "added" | "prefix" | "suffix" | "stopTokens">;

/** What all kinds of vocabulary have. `defaults` count where the file does not say. */
function commonParts(
  metadata: Metadata,
  vocabulary: GgufVocabulary,
  defaults: { readonly addBos: boolean; readonly addEos: boolean },
): CommonParts {
  const { bos, eos } = vocabulary.special;
  const addBos = metadata["tokenizer.ggml.add_bos_token"] ?? defaults.addBos;
  const addEos = metadata["tokenizer.ggml.add_eos_token"] ?? defaults.addEos;
  return {
    vocabulary,
    added: addedTokens(metadata, vocabulary),
    prefix: addBos === true && bos !== undefined ? [bos] : [],
    suffix: addEos === true && eos !== undefined ? [eos] : [],
    stopTokens: vocabulary.stopTokens,
  };
}

function addedTokens(metadata: Metadata, { texts, types }: GgufVocabulary): AddedToken[] {
  // The turn markers of this family were trained with the white space after them left out, and GGUF has no
  // field that says so; llama.cpp goes by the name too.
  const stripsAfterMarkers = /phi-?3/i.test(String(metadata["general.name"] ?? ""));
  const keepsSpace = ["<unk>", "<s>", "<|endoftext|>"];
  const added: AddedToken[] = [];
  texts.forEach((text, id) => {
    const type = types[id];
    const special = type === TokenType.CONTROL || type === TokenType.UNKNOWN;
    if (!special && type !== TokenType.USER_DEFINED) return;
    const stripsRight = stripsAfterMarkers && !keepsSpace.includes(text);
    added.push({ id, text, special, stripsRight });
  });
  return added;
}
