/** Looks for stop strings in text that arrives in pieces. What it finds does not depend on how the text is cut. */
export class StopStrings {
  readonly #stops: readonly string[];
  /** The end of the text so far, as far as it may become a stop string. */
  #held = "";

  /** @param stops none of them empty */
  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /**
   * Takes the next piece and gives the text that no stop string can reach any more.
   * `isStopped`: the stop string that ends first was found; the text ends before it, and nothing may follow.
   */
  push(piece: string): { readonly text: string; readonly isStopped: boolean } {
    const text = this.#held + piece;
    const at = this.#find(text);
    if (at !== undefined) {
      this.#held = "";
      return { text: text.slice(0, at), isStopped: true };
    }
    const ready = text.length - this.#reach(text);
    this.#held = text.slice(ready);
    return { text: text.slice(0, ready), isStopped: false };
  }

  /** What was held back, at the end of the text. */
  flush(): string {
    const rest = this.#held;
    this.#held = "";
    return rest;
  }

  /** Where the stop string that ends first begins; of several that end there, the longest. */
  #find(text: string): number | undefined {
    let found: { readonly start: number; readonly end: number } | undefined;
    for (const stop of this.#stops) {
      const start = text.indexOf(stop);
      if (start === -1) continue;
      const end = start + stop.length;
      if (!found || end < found.end || (end === found.end && start < found.start)) found = { start, end };
    }
    return found?.start;
  }

  /** Length of the longest end of `text` that a stop string begins with. */
  #reach(text: string): number {
    let longest = 0;
    for (const stop of this.#stops) {
      for (let length = Math.min(stop.length - 1, text.length); length > longest; length--) {
        if (text.endsWith(stop.slice(0, length))) longest = length;
      }
    }
    return longest;
  }
}
