import type { Model } from "../../src/language_model.ts";

const WINDOW_TOKENS = 128;

/**
 * Perplexity of `ids` in windows of 128 tokens that are scored by themselves, the first token of each not; a part of a
 * window at the end is left out.
 */
export async function perplexity(
  model: Model,
  ids: readonly number[],
  mostWindows = Infinity,
): Promise<number> {
  const { vocabulary } = model.info;
  const windows = Math.min(mostWindows, Math.floor(ids.length / WINDOW_TOKENS));
  let [sum, count] = [0, 0];
  for (let w = 0; w < windows; w++) {
    const tokens = ids.slice(w * WINDOW_TOKENS, (w + 1) * WINDOW_TOKENS);
    const logits = await model.logits(tokens);
    for (let t = 0; t + 1 < tokens.length; t++) {
      const row = logits.subarray(t * vocabulary, (t + 1) * vocabulary);
      const most = row.reduce((a, b) => Math.max(a, b));
      const all = row.reduce((total, logit) => total + Math.exp(logit - most), 0);
      sum += Math.log(all) + most - (row[tokens[t + 1] as number] as number);
      count++;
    }
  }
  return Math.exp(sum / count);
}

/** Ids of a text whose stories lie apart by two empty lines, joined by the token that ends a text. */
export function storyIds(model: Model, text: string): number[] {
  const { tokenizer } = model;
  const [end] = tokenizer?.stopTokens ?? [];
  if (!tokenizer || end === undefined) throw new Error("the model has no vocabulary with an end of text");
  return text.split("\n\n\n").flatMap((story, i) => [...(i === 0 ? [] : [end]), ...tokenizer.encode(story)]);
}
