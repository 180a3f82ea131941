import { Unigram } from "@huggingface/tokenizers";
import type { WordEncoder } from "./byte_pair.ts";
import { mergeSymbols } from "./merge.ts";
import type { UnknownWriter } from "./vocabulary.ts";

interface ScoredPieces {
  readonly ids: ReadonlyMap<string, number>;
  /** By id; higher is better. */
  readonly scores: ArrayLike<number>;
  readonly writeUnknown: UnknownWriter;
}

/** SentencePiece's BPE: of all neighbours that form a token, those of the best-scored token join first. */
export function scoredPairEncoder({ ids, scores, writeUnknown }: ScoredPieces): WordEncoder {
  const priorityOf = (left: string, right: string): number | undefined => {
    const id = ids.get(left + right);
    return id === undefined ? undefined : -(scores[id] ?? 0);
  };
  return (text, out) => {
    for (const symbol of mergeSymbols(Array.from(text), priorityOf)) {
      const id = ids.get(symbol);
      if (id === undefined) writeUnknown(symbol, out);
      else out.push(id);
    }
  };
}

/** SentencePiece's unigram model (Kudo, 2018): the segmentation of the highest total score. */
export function unigramEncoder({ ids, scores, writeUnknown }: ScoredPieces): WordEncoder {
  const vocab = Array.from(ids, ([text, id]): [string, number] => [text, scores[id] ?? 0]);
  const model = new Unigram({ type: "Unigram", vocab }, "");
  return (text, out) => {
    for (const piece of model.encode([text])) {
      const id = ids.get(piece);
      if (id === undefined) writeUnknown(piece, out);
      else out.push(id);
    }
  };
}
