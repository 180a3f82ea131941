/** A token that is matched in the text as it stands, before anything is split or merged. */
export interface AddedToken {
  readonly id: number;
  readonly text: string;
  /** Matched only where the caller lets text name special tokens. */
  readonly special: boolean;
  /** Matched in the normalised text instead of the raw one. */
  readonly normalized?: boolean;
  /** White space before it belongs to it. */
  readonly stripsLeft?: boolean;
  /** White space after it belongs to it. */
  readonly stripsRight?: boolean;
  /** Not matched inside a word. */
  readonly singleWord?: boolean;
}

/** Text in order: stretches of ordinary text, and the added tokens between them. */
export type Segment = string | AddedToken;

/** Whether `token` counts where it stands in a text, from character `start` to `end`. */
export type MatchFilter = (token: AddedToken, start: number, end: number) => boolean;

/** Splits text at `tokens`: the leftmost match first, the longest of those that start there. */
export function segmenter(
  tokens: readonly AddedToken[],
): (text: string, mayMatch?: MatchFilter) => Segment[] {
  const byFirstUnit = new Map<number, AddedToken[]>();
  for (const token of tokens) {
    if (token.text === "") continue;
    const unit = token.text.charCodeAt(0);
    const list = byFirstUnit.get(unit);
    if (list) list.push(token);
    else byFirstUnit.set(unit, [token]);
  }
  for (const list of byFirstUnit.values()) list.sort((a, b) => b.text.length - a.text.length);
  const matchAt = (text: string, at: number, mayMatch: MatchFilter | undefined): AddedToken | undefined =>
    byFirstUnit
      .get(text.charCodeAt(at))
      ?.find(
        (token) =>
          text.startsWith(token.text, at) &&
          (!token.singleWord || isWhole(text, at, token)) &&
          (mayMatch?.(token, at, at + token.text.length) ?? true),
      );

  return (text, mayMatch) => {
    const segments: Segment[] = [];
    let start = 0;
    for (let at = 0; at < text.length; ) {
      const token = matchAt(text, at, mayMatch);
      if (!token) {
        at++;
        continue;
      }
      const before = text.slice(start, at);
      const kept = token.stripsLeft ? before.trimEnd() : before;
      if (kept !== "") segments.push(kept);
      segments.push(token);
      at += token.text.length;
      if (token.stripsRight) at = text.length - text.slice(at).trimStart().length;
      start = at;
    }
    if (start < text.length) segments.push(text.slice(start));
    return segments;
  };
}

function isWhole(text: string, at: number, token: AddedToken): boolean {
  const wordEnds = /[\p{L}\p{N}_]$/u.test(text.slice(Math.max(0, at - 2), at));
  const end = at + token.text.length;
  return !wordEnds && !/^[\p{L}\p{N}_]/u.test(text.slice(end, end + 2));
}
