import { SluiceError } from "../errors.ts";
import type { Metadata } from "../source/model_file.ts";
import type { AddedToken } from "./added_tokens.ts";
import { SPACE_MARK, type Spelling } from "./vocabulary.ts";

type JsonObject = Readonly<Record<string, unknown>>;

/** The model part of a `tokenizer.json`. */
export interface JsonModel {
  readonly tokens: readonly (readonly [string, number])[];
  /** By id; only unigram models have them. */
  readonly scores: readonly number[] | undefined;
  /** Only BPE models have them. */
  readonly merges: readonly unknown[];
  readonly ignoreMerges: boolean;
  readonly byteFallback: boolean;
  readonly unknownText: string | undefined;
  readonly fuseUnknown: boolean;
}

/** A `tokenizer.json`, part by part. The lists hold configurations, with sequences taken apart. */
export interface JsonTokenizer {
  readonly added: readonly AddedToken[];
  readonly normalizers: readonly JsonObject[];
  readonly preTokenizers: readonly JsonObject[];
  readonly postProcessors: readonly JsonObject[];
  readonly decoders: readonly JsonObject[];
  readonly model: JsonModel;
}

/** `value` if it is a plain object, else an empty one. */
export function asObject(value: unknown): JsonObject {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  return isObject ? (value as JsonObject) : {};
}

/**
 * What the file `name` of a folder says, whose text is in `metadata`; `undefined` where it is not there.
 * @throws `bad-model-file` for a text that is not JSON
 */
export function parseJsonText(metadata: Metadata, name: string): unknown {
  const text = metadata[name];
  if (text === undefined) return undefined;
  try {
    return JSON.parse(String(text));
  } catch (cause) {
    throw new SluiceError("bad-model-file", `${name} is not JSON`, {
      remedy: "Download the model's files again.",
      details: { name },
      cause,
    });
  }
}

/** A token is named by its text or by an object that holds the text. */
export function asTokenText(value: unknown): string | undefined {
  const text = typeof value === "string" ? value : asObject(value).content;
  return typeof text === "string" ? text : undefined;
}

/** @throws `bad-model-file` when there is no vocabulary, `unsupported-model` for an unknown kind of model. */
export function asJsonTokenizer(value: unknown): JsonTokenizer {
  const json = asObject(value);
  return {
    added: asList(json.added_tokens).map(asAddedToken),
    normalizers: flatten(json.normalizer, "normalizers"),
    preTokenizers: flatten(json.pre_tokenizer, "pretokenizers"),
    postProcessors: flatten(json.post_processor, "processors"),
    decoders: flatten(json.decoder, "decoders"),
    model: asModel(asObject(json.model)),
  };
}

function asModel(model: JsonObject): JsonModel {
  const { vocab, merges } = model;
  const common = {
    byteFallback: model.byte_fallback === true,
    ignoreMerges: model.ignore_merges === true,
  };
  if (Array.isArray(vocab) && (model.type ?? "Unigram") === "Unigram") {
    return {
      ...common,
      tokens: vocab.map((entry, id) => [String(entry[0]), id] as const),
      scores: vocab.map((entry) => Number(entry[1])),
      merges: [],
      unknownText: asTokenText(vocab[Number(model.unk_id)]?.[0]),
      fuseUnknown: true,
    };
  }
  if (Array.isArray(merges) && (model.type ?? "BPE") === "BPE") {
    for (const key of ["continuing_subword_prefix", "end_of_word_suffix"]) {
      if (model[key]) throw unsupported(`the tokenizer marks pieces of words with a ${key}`);
    }
    return {
      ...common,
      tokens: Object.entries(asObject(vocab)).map(([text, id]) => [text, Number(id)] as const),
      scores: undefined,
      merges,
      unknownText: asTokenText(model.unk_token),
      fuseUnknown: model.fuse_unk === true,
    };
  }
  if (typeof model.type === "string")
    throw unsupported(`the tokenizer's model is of the kind "${model.type}"`);
  throw new SluiceError("bad-model-file", "the tokenizer has no model with a vocabulary", {
    remedy: "Pass the parsed tokenizer.json of the model.",
  });
}

function asAddedToken(value: unknown): AddedToken {
  const token = asObject(value);
  const special = token.special === true;
  return {
    id: Number(token.id),
    text: String(token.content),
    special,
    normalized: token.normalized === undefined ? !special : token.normalized === true,
    stripsLeft: token.lstrip === true,
    stripsRight: token.rstrip === true,
    singleWord: token.single_word === true,
  };
}

/**
 * How the decoders turn tokens into text.
 * @throws `unsupported-model` for a decoder that is neither byte-level nor SentencePiece's.
 */
export function decoderTraits({ decoders, preTokenizers }: JsonTokenizer): {
  readonly spelling: Spelling;
  readonly spacePrefix: boolean;
} {
  const stages = decoders.length > 0 ? decoders : preTokenizers;
  const isByteLevel = stages.some((stage) => stage.type === "ByteLevel");
  let spacePrefix = false;
  for (const decoder of decoders) {
    const { type } = decoder;
    if (type === "Metaspace" && (decoder.replacement ?? SPACE_MARK) === SPACE_MARK) {
      spacePrefix = decoder.prepend_scheme !== "never" && decoder.add_prefix_space !== false;
    } else if (type === "Strip" && decoder.content === " " && !decoder.stop) {
      spacePrefix = decoder.start === 1;
    } else if (type === "Replace") {
      const isSpace = asObject(decoder.pattern).String === SPACE_MARK && decoder.content === " ";
      if (!isSpace) throw unsupported("the tokenizer's decoder replaces text");
    } else if (type !== "ByteLevel" && type !== "ByteFallback" && type !== "Fuse") {
      throw unsupported(`the tokenizer's decoder has a stage of the kind "${String(type)}"`);
    }
  }
  return { spelling: isByteLevel ? "byte-level" : "sentencepiece", spacePrefix };
}

function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function flatten(value: unknown, key: string): JsonObject[] {
  if (value === null || value === undefined) return [];
  const config = asObject(value);
  return config.type === "Sequence" ? asList(config[key]).flatMap((part) => flatten(part, key)) : [config];
}

function unsupported(what: string): SluiceError {
  return new SluiceError("unsupported-model", `${what}, which is not supported`, {
    remedy: "Use a GGUF file of the model, or pass token ids.",
  });
}
