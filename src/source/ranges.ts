import type { ByteRange } from "../quant/page.ts";

/** One request that serves several ranges. */
export interface Request extends ByteRange {
  /** Which of the ranges lie in it: positions in the list given to `coalesce`, by file offset. */
  readonly members: readonly number[];
}

/**
 * Fewest requests, in file order, that cover every range: ranges at most `maxGapBytes` apart share one, unless
 * it would grow above `maxBytes`. A range is never split, so a range above `maxBytes` is a request of its own.
 */
export function coalesce(ranges: readonly ByteRange[], maxGapBytes: number, maxBytes: number): Request[] {
  const order = ranges.map((range, index) => ({ ...range, index }));
  order.sort((a, b) => a.offset - b.offset || a.bytes - b.bytes);
  const requests: { offset: number; bytes: number; members: number[] }[] = [];
  for (const { offset, bytes, index } of order) {
    const open = requests.at(-1);
    if (open) {
      const end = open.offset + open.bytes;
      const grown = Math.max(end, offset + bytes) - open.offset;
      if (offset - end <= maxGapBytes && (grown <= maxBytes || grown === open.bytes)) {
        open.bytes = grown;
        open.members.push(index);
        continue;
      }
    }
    requests.push({ offset, bytes, members: [index] });
  }
  return requests;
}
