import type { Policy, PolicySite } from "./policy.ts";

/**
 * Adaptive replacement cache (Megiddo and Modha 2003), as Fate uses within a layer: residents seen once (`once`, T1) and
 * seen again (`again`, T2), the recently evicted of each (`onceGone`, B1; `againGone`, B2), and a target size for `once`
 * that moves towards the list whose evictions turn out wrong.
 */
export function arc({ slots }: PolicySite): Policy {
  return new Arc(slots);
}

class Arc implements Policy {
  readonly #slots: number;
  /** Sets are in order of use, the oldest first. */
  readonly #once = new Set<number>();
  readonly #again = new Set<number>();
  readonly #onceGone = new Set<number>();
  readonly #againGone = new Set<number>();
  /** Early loads whose first use is still to come; it is their first, not their second. */
  readonly #early = new Set<number>();
  readonly #lastUse = new Map<number, number>();
  #target = 0;
  #clock = 0;
  /** What is coming in was in `againGone`: a tie then goes against `once`. */
  #returnsAgain = false;

  constructor(slots: number) {
    this.#slots = slots;
  }

  used(expert: number): void {
    this.#lastUse.set(expert, ++this.#clock);
    this.#returnsAgain = false;
    if (this.#early.delete(expert)) {
      moveToEnd(this.#once, expert);
    } else if (this.#once.delete(expert) || this.#again.has(expert)) {
      moveToEnd(this.#again, expert);
    } else if (this.#onceGone.has(expert)) {
      const step = Math.max(1, this.#againGone.size / this.#onceGone.size);
      this.#target = Math.min(this.#slots, this.#target + step);
    } else if (this.#againGone.has(expert)) {
      const step = Math.max(1, this.#onceGone.size / this.#againGone.size);
      this.#target = Math.max(0, this.#target - step);
      this.#returnsAgain = true;
    }
  }

  loaded(expert: number, early: boolean): void {
    const returns = this.#onceGone.delete(expert) || this.#againGone.delete(expert);
    this.#returnsAgain = false;
    if (returns && !early) {
      this.#again.add(expert);
    } else {
      this.#once.add(expert);
      if (early) this.#early.add(expert);
    }
    if (this.#once.size + this.#onceGone.size > this.#slots) deleteFirst(this.#onceGone);
    const all = this.#once.size + this.#onceGone.size + this.#again.size + this.#againGone.size;
    if (all > 2 * this.#slots) deleteFirst(this.#againGone);
  }

  evicted(expert: number): void {
    this.#early.delete(expert);
    if (this.#once.delete(expert)) this.#onceGone.add(expert);
    else if (this.#again.delete(expert)) this.#againGone.add(expert);
  }

  /** Below 1 in the list that must give up a page, from 1 in the other; by recency within each. */
  value(expert: number): number {
    const { size } = this.#once;
    const fromOnce = size > this.#target || (this.#returnsAgain && size === this.#target);
    const recency = 1 / (2 + this.#clock - (this.#lastUse.get(expert) ?? Number.NEGATIVE_INFINITY));
    return recency + (this.#once.has(expert) === fromOnce ? 0 : 1);
  }
}

function moveToEnd(set: Set<number>, expert: number): void {
  set.delete(expert);
  set.add(expert);
}

function deleteFirst(set: Set<number>): void {
  for (const first of set) {
    set.delete(first);
    return;
  }
}
