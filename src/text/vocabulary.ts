/** What a token is, numbered as `tokenizer.ggml.token_type` numbers it. 0: there is no token with this id. */
export const TokenType = {
  ABSENT: 0,
  NORMAL: 1,
  UNKNOWN: 2,
  CONTROL: 3,
  USER_DEFINED: 4,
  UNUSED: 5,
  BYTE: 6,
} as const;

/**
 * How a normal token's text stands for bytes: each character for one byte (the printable alphabet of
 * GPT-2), or as UTF-8 with U+2581 in place of the space.
 */
export type Spelling = "byte-level" | "sentencepiece";

/** The tokens of a model, by id. */
export interface Vocabulary {
  readonly texts: readonly string[];
  /** `TokenType` of each id. */
  readonly types: Uint8Array;
  readonly spelling: Spelling;
}

/** The visible space of SentencePiece vocabularies. */
export const SPACE_MARK = "\u2581";

/** Special tokens have no text of their own: user text never becomes one, and decoding leaves them out. */
export function isSpecial(vocabulary: Vocabulary, id: number): boolean {
  const type = vocabulary.types[id];
  return type === TokenType.CONTROL || type === TokenType.UNKNOWN;
}

/**
 * Ids of the tokens that text may become, by their text. Special and byte tokens are missing, so no merge of
 * harmless pieces can end in one.
 */
export function textTokenIds({ texts, types }: Vocabulary): Map<string, number> {
  const ids = new Map<string, number>();
  for (let id = 0; id < texts.length; id++) {
    const type = types[id];
    const isText = type === TokenType.NORMAL || type === TokenType.USER_DEFINED || type === TokenType.UNUSED;
    const text = texts[id];
    if (isText && text) ids.set(text, id);
  }
  return ids;
}

/** Writes the ids that stand for text no token matches. */
export type UnknownWriter = (text: string, out: number[]) => void;

/** One byte token for each byte where the vocabulary has them, else the unknown token, else nothing. */
export function unknownWriter(
  vocabulary: Vocabulary,
  options: { readonly unknownId?: number | undefined; readonly fuse?: boolean },
): UnknownWriter {
  const { texts, types } = vocabulary;
  const byteIds: number[] = [];
  for (let id = 0; id < texts.length; id++) {
    if (types[id] === TokenType.BYTE) byteIds[byteValue(texts[id] ?? "")] = id;
  }
  const encoder = new TextEncoder();
  return (text, out) => {
    const ids = Array.from(encoder.encode(text), (byte) => byteIds[byte]);
    if (ids.every((id) => id !== undefined)) {
      for (const id of ids) out.push(id);
    } else if (options.unknownId !== undefined) {
      if (!options.fuse || out.at(-1) !== options.unknownId) out.push(options.unknownId);
    }
  };
}

/** The bytes each token adds to the text, special tokens spelled out. None for ids outside the vocabulary. */
export function tokenBytes(vocabulary: Vocabulary): (id: number) => Uint8Array {
  const { texts, types, spelling } = vocabulary;
  const encoder = new TextEncoder();
  const alphabet = spelling === "byte-level" ? byteAlphabet() : undefined;
  return (id) => {
    const text = texts[id] ?? "";
    const type = types[id];
    if (type === TokenType.BYTE) return Uint8Array.of(byteValue(text));
    const isPlain = type === TokenType.NORMAL || type === TokenType.UNUSED;
    if (!isPlain) return encoder.encode(text);
    if (!alphabet) return encoder.encode(text.replaceAll(SPACE_MARK, " "));
    const bytes = Array.from(text, (character) => alphabet.get(character));
    // A token outside the alphabet can only have been added as plain text.
    return bytes.every((byte) => byte !== undefined) ? Uint8Array.from(bytes) : encoder.encode(text);
  };
}

/** The value of a byte token such as `<0x0A>`. */
function byteValue(text: string): number {
  return Number.parseInt(text.slice(3, 5), 16);
}

/** Whether `text` is written like a byte token. */
export function looksLikeByte(text: string): boolean {
  return /^<0x[0-9A-Fa-f]{2}>$/.test(text);
}

/**
 * GPT-2's printable alphabet: bytes that print in Latin-1 stand for themselves, the others for the characters
 * from U+0100 on, in order.
 */
function byteAlphabet(): Map<string, number> {
  const alphabet = new Map<string, number>();
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const prints = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
    alphabet.set(String.fromCharCode(prints ? byte : next++), byte);
  }
  return alphabet;
}
