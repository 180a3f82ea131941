/**
 * Which token ids the cache holds: position p is what `ids[p]` left there. A position counts once the program that writes it
 * has ended well; one that is being written, or whose program failed, does not.
 *
 * Where some block keeps what the last position left and nothing of those before, there is one way back: to where a copy of
 * that was set aside.
 */
export class CachedTokens {
  readonly isRecurrent: boolean;
  readonly #routing: () => string;
  /** The routing that the first `#alike` positions ran under. */
  #ran = "";
  #alike = Number.POSITIVE_INFINITY;
  #ids: number[] = [];
  /** The id drawn for the position behind `#ids`. */
  #drawn: number | undefined;
  /** Behind the last position that a program was submitted for. */
  #begun = 0;
  /** Leading tokens that left what was set aside; 0 if nothing was. */
  #aside = 0;

  /** @param routing names the routing of what is begun: what ran under another is not reused */
  constructor(isRecurrent: boolean, routing: () => string = () => "") {
    this.isRecurrent = isRecurrent;
    this.#routing = routing;
  }

  /** None where what is kept does not belong to any position that is known. */
  get ids(): readonly number[] {
    return this.isRecurrent && this.#begun !== this.#ids.length ? [] : this.#ids;
  }

  get aside(): number {
    return this.#aside;
  }

  /** What its positions ran under: the first `tokens` of them, those behind it under another. */
  get ran(): { readonly routing: string; readonly tokens: number } {
    return { routing: this.#ran, tokens: Math.min(this.#alike, this.#ids.length) };
  }

  /** Leading tokens of `prompt` that need not run again. Its last one runs: its logits are asked for. */
  reusable(prompt: readonly number[]): number {
    if (this.#routing() !== this.#ran) return 0;
    const differs = this.#ids.findIndex((id, position) => id !== prompt[position]);
    const shared = Math.min(this.#alike, differs === -1 ? this.#ids.length : differs);
    if (!this.isRecurrent) return Math.min(shared, prompt.length - 1);
    const ways = [this.ids.length, this.#aside];
    return ways.find((tokens) => tokens > 0 && tokens <= shared && tokens < prompt.length) ?? 0;
  }

  /** A copy is made of what the last position left. */
  setAside(): void {
    this.#aside = this.ids.length;
  }

  /** The next position to be written is the one behind `tokens` tokens. @returns whether that takes what was set aside */
  goBack(tokens: number): boolean {
    const takesAside = this.isRecurrent && tokens > 0 && tokens !== this.ids.length;
    this.begin(tokens, 0);
    return takesAside;
  }

  /** A program that writes `tokens` positions from `position` on is about to be submitted. */
  begin(position: number, tokens: number): void {
    if (position < this.#ids.length) this.#ids.length = position;
    if (position < this.#aside) this.#aside = 0;
    const routing = this.#routing();
    if (position === 0) this.#ran = routing;
    if (routing !== this.#ran) this.#alike = Math.min(this.#alike, position);
    else if (position <= this.#alike) this.#alike = Number.POSITIVE_INFINITY;
    this.#begun = position + tokens;
  }

  /** The positions of these ids were written. @param drawn the id that was drawn behind them */
  wrote(position: number, ids: readonly number[], drawn?: number): void {
    // What ran before it failed, or is not known to have ended.
    if (position !== this.#ids.length) return;
    for (const id of ids) this.#ids.push(id);
    this.#drawn = drawn;
  }

  /** Positions from `position` on were decoded: each was fed what was drawn before it. @param drawn behind each */
  decoded(position: number, drawn: readonly number[]): void {
    const first = this.#drawn;
    if (first !== undefined) this.wrote(position, [first, ...drawn.slice(0, -1)], drawn.at(-1));
  }

  /**
   * The cache holds these ids and nothing else.
   * @param aside leading ones that left what is set aside
   * @param ran as `ran` gave it
   */
  replace(ids: readonly number[], aside = 0, ran = { routing: "", tokens: ids.length }): void {
    this.#ids = [...ids];
    this.#drawn = undefined;
    this.#begun = ids.length;
    this.#aside = aside;
    this.#ran = ran.routing;
    this.#alike = ran.tokens === ids.length ? Number.POSITIVE_INFINITY : ran.tokens;
  }
}
