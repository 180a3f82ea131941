import { SluiceError } from "../errors.ts";
import type { Metadata, MetadataValue } from "../source/model_file.ts";
import { markStopTokens } from "./stop_tokens.ts";
import { looksLikeByte, type Spelling, TokenType, type Vocabulary } from "./vocabulary.ts";

/** Ids that the metadata names. */
export interface SpecialIds {
  readonly bos?: number | undefined;
  readonly eos?: number | undefined;
  readonly unk?: number | undefined;
}

export interface GgufVocabulary extends Vocabulary {
  /** By id; empty where the file has none. */
  readonly scores: readonly number[];
  readonly special: SpecialIds;
  readonly stopTokens: readonly number[];
}

/**
 * Reads the tokens of a GGUF file. `defaults` are the ids its kind of vocabulary has where the file names
 * none.
 * @throws `bad-model-file` when lists differ in length, two tokens are the same, or an id is out of range.
 */
export function readGgufVocabulary(
  metadata: Metadata,
  spelling: Spelling,
  defaults: SpecialIds = {},
): GgufVocabulary {
  const texts = list(metadata, "tokenizer.ggml.tokens").map(String);
  checkDistinct(texts);
  const named = (key: string, fallback?: number): number | undefined =>
    idNamed(metadata, key, texts.length) ??
    (fallback !== undefined && fallback < texts.length ? fallback : undefined);
  const special = {
    bos: named("bos_token_id", defaults.bos),
    eos: named("eos_token_id", defaults.eos),
    unk: named("unknown_token_id", defaults.unk),
  };
  const ends = [special.eos, named("eot_token_id"), named("eom_token_id")];
  const types = readTypes(metadata, texts, [...Object.values(special), ...ends, named("padding_token_id")]);
  const stopTokens = markStopTokens(texts, types, ends);
  return { texts, types, spelling, special, stopTokens, scores: readScores(metadata, texts.length) };
}

/**
 * The list that `key` names.
 * @throws `bad-model-file` when there is none.
 */
export function list(metadata: Metadata, key: string): readonly MetadataValue[] {
  const value = metadata[key];
  if (Array.isArray(value)) return value;
  throw damaged(`the vocabulary has no ${key}`, { key });
}

function readTypes(
  metadata: Metadata,
  texts: readonly string[],
  named: readonly (number | undefined)[],
): Uint8Array {
  const key = "tokenizer.ggml.token_type";
  if (metadata[key] !== undefined) return Uint8Array.from(fullList(metadata, key, texts.length));
  const types = Uint8Array.from(texts, (text) => (looksLikeByte(text) ? TokenType.BYTE : TokenType.NORMAL));
  for (const id of named) if (id !== undefined) types[id] = TokenType.CONTROL;
  return types;
}

function readScores(metadata: Metadata, tokens: number): number[] {
  const key = "tokenizer.ggml.scores";
  return metadata[key] === undefined ? [] : fullList(metadata, key, tokens);
}

function fullList(metadata: Metadata, key: string, tokens: number): number[] {
  const values = list(metadata, key);
  if (values.length >= tokens) return values.slice(0, tokens).map(Number);
  throw damaged(`the vocabulary has ${tokens} tokens but ${key} has ${values.length} entries`, {
    key,
    tokens,
    entries: values.length,
  });
}

function idNamed(metadata: Metadata, name: string, tokens: number): number | undefined {
  const key = `tokenizer.ggml.${name}`;
  if (metadata[key] === undefined) return undefined;
  // Converters write "none" as -1, which an unsigned field turns into 2^32 - 1.
  const id = Number(metadata[key]) | 0;
  if (id === -1) return undefined;
  if (id >= 0 && id < tokens) return id;
  throw damaged(`${key} is ${String(metadata[key])} but the vocabulary has ${tokens} tokens`, {
    key,
    id,
    tokens,
  });
}

function checkDistinct(texts: readonly string[]): void {
  const seen = new Map<string, number>();
  texts.forEach((text, id) => {
    const first = seen.get(text);
    if (first !== undefined && text !== "") {
      throw damaged(`tokens ${first} and ${id} of the vocabulary have the same text, "${text}"`, {
        first,
        id,
      });
    }
    seen.set(text, id);
  });
}

function damaged(message: string, details: Readonly<Record<string, string | number>>): SluiceError {
  return new SluiceError("bad-model-file", message, {
    remedy: "Download or convert the model again: its vocabulary is damaged.",
    details,
  });
}
