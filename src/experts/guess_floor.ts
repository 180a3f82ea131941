/** Of the pages that are loaded, the share that may go again unused; measured, see `defaults.ts`. */
const WASTE_SHARE = 0.095;
const START = 0.65;
const LEAST = 0.4;
const MOST = 0.95;
const STEP = 0.004;

/**
 * The chance from which a guess is worth its bytes. How much a wrong guess costs depends on the model, the slots and the
 * text, so the floor follows what was wasted: it rests where WASTE_SHARE of all loads are.
 */
export class GuessFloor {
  #value: number;

  /** @param start where an earlier run of the same model left off. */
  constructor(start = START) {
    this.#value = start;
  }

  get value(): number {
    return this.#value;
  }

  loaded(): void {
    this.#move(-WASTE_SHARE);
  }

  /** An early load was evicted unused. */
  wasted(): void {
    this.#move(1);
  }

  #move(by: number): void {
    this.#value = Math.min(MOST, Math.max(LEAST, this.#value + by * STEP));
  }
}
