import { SluiceError } from "../errors.ts";
import { assembleTokenizer } from "./assemble.ts";
import { bytePairEncoder, mergeRanks, type WordEncoder } from "./byte_pair.ts";
import {
  asJsonTokenizer,
  asObject,
  asTokenText,
  decoderTraits,
  type JsonModel,
  type JsonTokenizer,
} from "./json_parts.ts";
import { unigramEncoder } from "./sentence_piece.ts";
import { markStopTokens } from "./stop_tokens.ts";
import { buildNormalizer, buildPreTokenizer, surroundingTokens } from "./text_splitter.ts";
import type { Tokenizer } from "./tokenizer.ts";
import {
  isSpecial,
  looksLikeByte,
  TokenType,
  textTokenIds,
  unknownWriter,
  type Vocabulary,
} from "./vocabulary.ts";

/**
 * The tokenizer that a `tokenizer.json` describes, with the begin and end tokens `tokenizer_config.json`
 * names and those that end a generation by `generation_config.json`. Spaces before punctuation are kept when decoding, whatever `clean_up_tokenization_spaces` says:
 * text that changes after the fact cannot be streamed.
 *
 * @throws `bad-model-file` when it is no `tokenizer.json`, `unsupported-model` for a part that is not known.
 */
export function tokenizerFromJson(
  tokenizerJson: unknown,
  tokenizerConfig?: unknown,
  generationConfig?: unknown,
): Tokenizer {
  const json = asJsonTokenizer(tokenizerJson);
  const { spelling, spacePrefix } = decoderTraits(json);
  const { texts, types, ids } = readTokens(json);
  const config = asObject(tokenizerConfig);
  const idOf = (token: unknown): number | undefined => ids.get(asTokenText(token) ?? "");
  const bos = idOf(config.bos_token);
  const eos = idOf(config.eos_token);
  const ends = [asObject(generationConfig).eos_token_id].flat().filter((id) => typeof id === "number");
  const stopTokens = markStopTokens(texts, types, [eos, ...ends.filter((id) => id in texts)]);
  const vocabulary: Vocabulary = { texts, types, spelling };
  const encodeWord = modelEncoder(json.model, vocabulary, ids);
  const split = buildPreTokenizer(json.preTokenizers);
  const around = surroundingTokens(json.postProcessors);
  return assembleTokenizer({
    vocabulary,
    added: json.added.map((token) => ({ ...token, special: isSpecial(vocabulary, token.id) })),
    normalize: buildNormalizer(json.normalizers),
    encodeText(text, section, out) {
      for (const word of split(text, section)) encodeWord(word, out);
    },
    prefix: withToken(around.before.map(idOf), bos, config.add_bos_token, "start"),
    suffix: withToken(around.after.map(idOf), eos, config.add_eos_token, "end"),
    spacePrefix,
    stopTokens,
  });
}

function readTokens({ model, added }: JsonTokenizer): {
  texts: string[];
  types: Uint8Array;
  ids: Map<string, number>;
} {
  const ids = new Map<string, number>(model.tokens);
  for (const token of added) ids.set(token.text, token.id);
  let size = 0;
  for (const id of ids.values()) size = Math.max(size, id + 1);
  const texts = new Array<string>(size).fill("");
  const types = new Uint8Array(size);
  for (const [text, id] of ids) {
    texts[id] = text;
    types[id] = model.byteFallback && looksLikeByte(text) ? TokenType.BYTE : TokenType.NORMAL;
  }
  for (const { id, special } of added) types[id] = special ? TokenType.CONTROL : TokenType.USER_DEFINED;
  return { texts, types, ids };
}

function modelEncoder(
  model: JsonModel,
  vocabulary: Vocabulary,
  allIds: ReadonlyMap<string, number>,
): WordEncoder {
  const ids = textTokenIds(vocabulary);
  const unknownId = model.unknownText === undefined ? undefined : allIds.get(model.unknownText);
  const writeUnknown = unknownWriter(vocabulary, { unknownId, fuse: model.fuseUnknown });
  if (model.scores) return unigramEncoder({ ids, scores: model.scores, writeUnknown });
  return bytePairEncoder({
    ids,
    rankOf: mergeRanks(model.merges),
    ignoreMerges: model.ignoreMerges,
    writeUnknown,
  });
}

/** The surrounding ids, with `token` put at their outer end or taken from it where `wanted` says so. */
function withToken(
  ids: readonly (number | undefined)[],
  token: number | undefined,
  wanted: unknown,
  side: "start" | "end",
): number[] {
  const known = ids.map((id) => {
    if (id !== undefined) return id;
    throw new SluiceError("bad-model-file", "the tokenizer surrounds text with a token it does not have", {
      remedy: "Download the model's tokenizer.json again.",
    });
  });
  const has = token !== undefined && known.at(side === "start" ? 0 : -1) === token;
  if (token === undefined || typeof wanted !== "boolean" || wanted === has) return known;
  if (has) return side === "start" ? known.slice(1) : known.slice(0, -1);
  return side === "start" ? [token, ...known] : [...known, token];
}
