/** What a cell is worth before it has seen anything: as one trial in PRIOR_TRIALS that came true half the time. */
const PRIOR_TRIALS = 4;
const PRIOR_HITS = 2;

/**
 * How often claims of a kind come true: turns ranks and gate weights, which mean something else in every model, into
 * chances. A kind is a small number the caller makes up.
 */
export class Calibration {
  readonly #hits = new Map<number, number>();
  readonly #trials = new Map<number, number>();

  /** @param saved rows [kind, hits, trials]. */
  constructor(saved: readonly (readonly number[])[] = []) {
    for (const [kind = 0, hits = 0, trials = 0] of saved) {
      this.#hits.set(kind, hits);
      this.#trials.set(kind, trials);
    }
  }

  /** The chance that a claim of this kind is true, between 0 and 1, both excluded. */
  chance(kind: number): number {
    return (PRIOR_HITS + (this.#hits.get(kind) ?? 0)) / (PRIOR_TRIALS + (this.#trials.get(kind) ?? 0));
  }

  note(kind: number, wasTrue: boolean): void {
    this.#trials.set(kind, (this.#trials.get(kind) ?? 0) + 1);
    if (wasTrue) this.#hits.set(kind, (this.#hits.get(kind) ?? 0) + 1);
  }

  save(): number[][] {
    return [...this.#trials].map(([kind, trials]) => [kind, this.#hits.get(kind) ?? 0, trials]);
  }
}
