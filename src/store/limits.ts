import { abortedError, throwIfAborted } from "../errors.ts";

/** Host bytes a model may take where nobody says otherwise. */
export const DEFAULT_HOST_BYTES = 256 * 2 ** 20;
/**
 * Installing 220 MiB in 522 pages takes 126 requests with this, 187 with 16 MiB, 398 with 8 MiB. At a round trip of 50 ms
 * the first is as fast as 61 requests were, the last takes twice as long.
 */
const MAX_STORE_BYTES = 24 * 2 ** 20;

/** Of the host bytes a model may take, those the store may hold at once; two pages it may hold in any case. */
export function storeShare(hostBytes = DEFAULT_HOST_BYTES): number {
  return Math.min(MAX_STORE_BYTES, hostBytes / 2);
}

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

/** Who may fill how much of a `Budget`: what an answer waits for, what is fetched for a read, and installing. */
const SHARES = { answer: 1, read: 7 / 8, install: 3 / 4 } as const;

export type Rank = keyof typeof SHARES;

interface Waiting {
  readonly bytes: number;
  admit(): void;
}

/**
 * Room for bytes that are fetched, checked or written. A claim waits until it fits the share of its rank, behind
 * those of its own rank that came before it and all of higher ranks, which so always find room soon. One that
 * is larger than its share waits until its rank holds nothing else, or where it is larger than all, nobody does.
 *
 * Whoever holds room must not wait for more of it: then every claim is admitted in the end.
 */
export class Budget {
  #capacity: number;
  readonly #held: Record<Rank, number> = { answer: 0, read: 0, install: 0 };
  readonly #waiting: Record<Rank, Waiting[]> = { answer: [], read: [], install: [] };

  constructor(capacityBytes: number) {
    this.#capacity = capacityBytes;
  }

  get capacity(): number {
    return this.#capacity;
  }

  set capacity(bytes: number) {
    this.#capacity = bytes;
    this.#admit();
  }

  /** @throws SluiceError `aborted` when `signal` fires before there is room; then nothing is held. */
  async claim(rank: Rank, bytes: number, signal: AbortSignal): Promise<Claim> {
    throwIfAborted(signal);
    const waiting = this.#waiting[rank];
    await new Promise<void>((resolve, reject) => {
      const claim = { bytes, admit: resolve };
      waiting.push(claim);
      this.#admit();
      if (!waiting.includes(claim)) return;
      // A signal of its own: many claims may wait, and Node warns of many listeners on one.
      const aborted = AbortSignal.any([signal]);
      const stop = () => {
        waiting.splice(waiting.indexOf(claim), 1);
        reject(abortedError(signal.reason));
        this.#admit();
      };
      claim.admit = () => {
        aborted.removeEventListener("abort", stop);
        resolve();
      };
      aborted.addEventListener("abort", stop);
    });
    return new Claim(bytes, (given) => {
      this.#held[rank] -= given;
      this.#admit();
    });
  }

  #admit(): void {
    for (const rank of ["answer", "read", "install"] as const) {
      const waiting = this.#waiting[rank];
      for (let first = waiting[0]; first; first = waiting[0]) {
        if (!this.#fits(rank, first.bytes)) return;
        waiting.shift();
        this.#held[rank] += first.bytes;
        first.admit();
      }
    }
  }

  #fits(rank: Rank, bytes: number): boolean {
    const held = this.#held.answer + this.#held.read + this.#held.install;
    const most = this.#held[rank] === 0 ? this.#capacity : this.#capacity * SHARES[rank];
    return held === 0 || held + bytes <= most;
  }
}

/** Room that is held, until it is given back in one or several parts. */
export class Claim {
  #bytes: number;
  readonly #give: (bytes: number) => void;

  constructor(bytes: number, give: (bytes: number) => void) {
    this.#bytes = bytes;
    this.#give = give;
  }

  /** Gives back what is held above `bytes`. */
  shrink(bytes: number): void {
    const given = Math.max(0, this.#bytes - bytes);
    this.#bytes -= given;
    if (given > 0) this.#give(given);
  }

  end(): void {
    this.shrink(0);
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

/** What one task holds, given back when it ends; nothing is counted after that. */
export class HostShare {
  readonly #host: HostBytes;
  #held = 0;
  #isOver = false;

  constructor(host: HostBytes) {
    this.#host = host;
  }

  take(bytes: number): void {
    if (this.#isOver) return;
    this.#held += bytes;
    this.#host.take(bytes);
  }

  end(): void {
    this.#isOver = true;
    this.#host.give(this.#held);
    this.#held = 0;
  }
}

/** Writes that go on behind the answers. */
export class WriteBehind {
  readonly #writes = new Set<Promise<void>>();

  /** `write` must not reject. */
  add(write: Promise<void>): void {
    this.#writes.add(write);
    write.then(() => this.#writes.delete(write));
  }

  /** Resolves when nothing is still to be written. */
  async idle(): Promise<void> {
    while (this.#writes.size > 0) await Promise.all(this.#writes);
  }
}
