import { isSpecial, tokenBytes, type Vocabulary } from "./vocabulary.ts";

export interface DecodeOptions {
  /** Spell special tokens out instead of leaving them out. Default false. */
  readonly keepSpecial?: boolean;
  /**
   * The ids go on from a text that is already there, as generated ids do. Vocabularies that put a space
   * before a text take it away again when they decode; in a continuation that space belongs to the text.
   * Default false.
   */
  readonly continuation?: boolean;
}

/** Turns ids into text as they arrive and never emits half a character. */
export interface StreamingDetokenizer {
  /** The text that `id` completes; "" while a character is unfinished. */
  push(id: number): string;
  /** What is left at the end; an unfinished character becomes U+FFFD. */
  flush(): string;
}

const SPACE = 0x20;

/**
 * Makes streaming decoders for `vocabulary`. `spacePrefix`: encoding puts a space before a text, so decoding
 * takes one away at its start, unless the text is a continuation.
 */
export function detokenizerFactory(
  vocabulary: Vocabulary,
  spacePrefix: boolean,
): (options?: DecodeOptions) => StreamingDetokenizer {
  const bytesOf = tokenBytes(vocabulary);
  return ({ keepSpecial = false, continuation = false } = {}) => {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    let dropSpace = spacePrefix && !continuation;
    return {
      push(id) {
        if (!keepSpecial && isSpecial(vocabulary, id)) return "";
        let bytes = bytesOf(id);
        if (bytes.length === 0) return "";
        if (dropSpace && bytes[0] === SPACE) bytes = bytes.subarray(1);
        dropSpace = false;
        return decoder.decode(bytes, { stream: true });
      },
      flush: () => decoder.decode(),
    };
  };
}
