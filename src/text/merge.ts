/** How soon two neighbours are joined: lowest first. `undefined`: they are never joined. */
export type MergePriority = (left: string, right: string) => number | undefined;

interface Candidate {
  readonly priority: number;
  /** Index of the left symbol, which the joined symbol keeps. */
  readonly left: number;
  readonly right: number;
  /** Length of the joined symbol; another length means a side has changed since. */
  readonly length: number;
}

/**
 * Joins neighbouring symbols, the pair of lowest priority first and the leftmost among equals, until no
 * pair is left to join. This is byte-pair encoding when the priority is the rank of a merge, and
 * SentencePiece's greedy merging when it is the negated score of the joined token. O(n log n).
 */
export function mergeSymbols(symbols: readonly string[], priorityOf: MergePriority): string[] {
  const texts = symbols.slice();
  const next = Int32Array.from(texts, (_, index) => (index + 1 < texts.length ? index + 1 : -1));
  const previous = Int32Array.from(texts, (_, index) => index - 1);
  const heap: Candidate[] = [];

  const consider = (left: number, right: number): void => {
    if (left < 0 || right < 0) return;
    const a = texts[left] as string;
    const b = texts[right] as string;
    const priority = priorityOf(a, b);
    if (priority !== undefined) push(heap, { priority, left, right, length: a.length + b.length });
  };

  for (let index = 1; index < texts.length; index++) consider(index - 1, index);
  for (let best = pop(heap); best; best = pop(heap)) {
    const { left, right, length } = best;
    const a = texts[left] as string;
    const b = texts[right] as string;
    // A swallowed symbol is empty, so its length gives away every stale candidate.
    if (a === "" || b === "" || next[left] !== right || a.length + b.length !== length) continue;
    texts[left] = a + b;
    texts[right] = "";
    const after = next[right] as number;
    next[left] = after;
    if (after >= 0) previous[after] = left;
    consider(previous[left] as number, left);
    consider(left, after);
  }
  return texts.filter((text) => text !== "");
}

function precedes(a: Candidate, b: Candidate): boolean {
  return a.priority < b.priority || (a.priority === b.priority && a.left < b.left);
}

function push(heap: Candidate[], item: Candidate): void {
  let hole = heap.length;
  heap.push(item);
  while (hole > 0) {
    const parent = (hole - 1) >> 1;
    const above = heap[parent] as Candidate;
    if (!precedes(item, above)) break;
    heap[hole] = above;
    hole = parent;
  }
  heap[hole] = item;
}

function pop(heap: Candidate[]): Candidate | undefined {
  const top = heap[0];
  const item = heap.pop();
  if (!item || heap.length === 0) return top;
  let hole = 0;
  for (;;) {
    let child = 2 * hole + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && precedes(heap[child + 1] as Candidate, heap[child] as Candidate)) child++;
    const below = heap[child] as Candidate;
    if (!precedes(below, item)) break;
    heap[hole] = below;
    hole = child;
  }
  heap[hole] = item;
  return top;
}
