/** Lets at most `width` tasks run at a time, the others in the order they came. */
export class Gate {
  readonly #width: number;
  #free: number;
  readonly #waiting: (() => void)[] = [];
  #onIdle: (() => void)[] = [];

  constructor(width: number) {
    this.#width = width;
    this.#free = width;
  }

  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await task();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
      if (this.#free === this.#width) {
        for (const resolve of this.#onIdle) resolve();
        this.#onIdle = [];
      }
    }
  }

  /** Resolves as soon as nothing runs or waits. */
  async idle(): Promise<void> {
    while (this.#free < this.#width) await new Promise<void>((resolve) => this.#onIdle.push(resolve));
  }
}

/** A gate with slots of its own whose tasks start only while nothing is in another gate. */
export class GateBehind {
  readonly #first: Gate;
  readonly #own: Gate;

  constructor(first: Gate, width: number) {
    this.#first = first;
    this.#own = new Gate(width);
  }

  run<T>(task: () => Promise<T>): Promise<T> {
    return this.#own.run(async () => {
      await this.#first.idle();
      return task();
    });
  }
}

/** Counts bytes held, and the most that were held at once. */
export class HostBytes {
  #held = 0;
  #peak = 0;

  get held(): number {
    return this.#held;
  }

  get peak(): number {
    return this.#peak;
  }

  take(bytes: number): void {
    this.#held += bytes;
    this.#peak = Math.max(this.#peak, this.#held);
  }

  give(bytes: number): void {
    this.#held -= bytes;
  }
}

/** Writes that go on behind the answers. */
export class WriteBehind {
  readonly #writes = new Set<Promise<void>>();
  #bytes = 0;

  /** `write` must not reject. */
  add(write: Promise<void>, bytes: number): void {
    this.#bytes += bytes;
    this.#writes.add(write);
    write.then(() => {
      this.#bytes -= bytes;
      this.#writes.delete(write);
    });
  }

  /** Resolves when at most `bytes` bytes are still to be written. */
  async atMost(bytes: number): Promise<void> {
    while (this.#bytes > bytes) await Promise.race(this.#writes);
  }
}
