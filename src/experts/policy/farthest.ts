import type { Guess, Policy, PolicyFactory } from "./policy.ts";

/**
 * Farthest next use on the predicted future (Read-ME's eviction, for any predictor): what is expected soonest and most
 * surely is kept longest, and what nobody expects has only what `base` says. Where the future is known this is Belady.
 */
export function farthest(base: PolicyFactory): PolicyFactory {
  return (site) => new Farthest(base(site));
}

class Farthest implements Policy {
  readonly #base: Policy;
  readonly #expected = new Map<number, Guess[]>();
  /** The last token whose use of this site is over. */
  #passed = Number.NEGATIVE_INFINITY;

  constructor(base: Policy) {
    this.#base = base;
  }

  used(expert: number, token: number): void {
    this.#passed = token;
    this.#base.used(expert, token);
  }

  loaded(expert: number, early: boolean): void {
    this.#base.loaded?.(expert, early);
  }

  evicted(expert: number): void {
    this.#base.evicted?.(expert);
  }

  expect(guesses: readonly Guess[]): void {
    this.#base.expect?.(guesses);
    this.#expected.clear();
    for (const guess of guesses) {
      const others = this.#expected.get(guess.expert);
      if (others === undefined) this.#expected.set(guess.expert, [guess]);
      else others.push(guess);
    }
  }

  /** A known use outweighs everything, the sooner the more. A guess adds its chance, less when it is for later. */
  value(expert: number, token: number): number {
    let known = 0;
    let guessed = 0;
    for (const guess of this.#expected.get(expert) ?? []) {
      if (guess.token <= this.#passed) continue;
      const soon = 1 / (1 + Math.max(0, guess.token - token));
      if (guess.score >= 1) known = Math.max(known, soon);
      else guessed = Math.max(guessed, guess.score * soon);
    }
    return known > 0 ? 2 + known : guessed + this.#base.value(expert, token);
  }
}
