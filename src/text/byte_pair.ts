import { SluiceError } from "../errors.ts";
import { type MergePriority, mergeSymbols } from "./merge.ts";
import type { UnknownWriter } from "./vocabulary.ts";

/** Appends the ids of one pre-token (a word, or a whole text where nothing splits it) to `out`. */
export type WordEncoder = (word: string, out: number[]) => void;

const CACHED_WORDS = 10_000;
/** Longer pre-tokens hardly ever come twice. */
const CACHED_WORD_LENGTH = 64;

/** Byte-pair encoding (Sennrich et al., 2016) of one pre-token. */
export function bytePairEncoder(options: {
  readonly ids: ReadonlyMap<string, number>;
  readonly rankOf: MergePriority;
  /** A pre-token that is a token stays whole, even where the merges would split it. */
  readonly ignoreMerges: boolean;
  readonly writeUnknown: UnknownWriter;
}): WordEncoder {
  const { ids, rankOf, ignoreMerges, writeUnknown } = options;
  const cache = new Map<string, readonly number[]>();

  const encodeWord = (word: string): number[] => {
    const whole = ignoreMerges ? ids.get(word) : undefined;
    if (whole !== undefined) return [whole];
    const found: number[] = [];
    for (const symbol of mergeSymbols(Array.from(word), rankOf)) {
      const id = ids.get(symbol);
      if (id === undefined) writeUnknown(symbol, found);
      else found.push(id);
    }
    return found;
  };

  return (word, out) => {
    let found = cache.get(word);
    if (!found) {
      found = encodeWord(word);
      if (cache.size >= CACHED_WORDS) cache.clear();
      if (word.length <= CACHED_WORD_LENGTH) cache.set(word, found);
    }
    for (const id of found) out.push(id);
  };
}

/**
 * The ranks of a list of merges, first is lowest: `"left right"` or `["left", "right"]` each.
 * @throws `bad-model-file` for an entry that is neither.
 */
export function mergeRanks(merges: readonly unknown[]): MergePriority {
  const ranks = new Map<string, number>();
  // Pairs may hold spaces and need a separator that no text has; strings are their own keys, which saves
  // taking 300,000 of them apart at every load.
  const separator = typeof merges[0] === "string" ? " " : "\u0000";
  for (let rank = 0; rank < merges.length; rank++) {
    const key = mergeKey(merges[rank], separator);
    if (key === undefined) {
      throw new SluiceError("bad-model-file", `merge ${rank} of ${merges.length} does not name two tokens`, {
        remedy: "Download or convert the model again: its tokenizer is damaged.",
        details: { merge: rank, merges: merges.length },
      });
    }
    if (!ranks.has(key)) ranks.set(key, rank);
  }
  return (left, right) => ranks.get(left + separator + right);
}

function mergeKey(merge: unknown, separator: string): string | undefined {
  if (typeof merge === "string") return merge.indexOf(" ", 1) > 0 ? merge : undefined;
  if (!Array.isArray(merge) || merge.length !== 2) return undefined;
  const [left, right] = merge;
  return typeof left === "string" && typeof right === "string" ? left + separator + right : undefined;
}
