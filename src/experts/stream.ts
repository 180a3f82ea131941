import { abortedError } from "../errors.ts";
import { HostCache } from "./host_cache.ts";
import { ABSENT, type ExpertPool, type Load } from "./pool.ts";

/** Pages asked of the store at a time: few enough to start uploading soon, enough that neighbours share a request. */
const BATCH_BYTES = 4 * 2 ** 20;
/** Pages on their way from the store hold at most this, or two pages. */
const IN_FLIGHT_BYTES = 8 * 2 ** 20;
/** In place of the slot of an expert without a page. */
const PAGELESS = -2;

/** The experts of one MoE site as the stream sees them. */
export interface StreamSite {
  readonly pageBytes: number;
  /** Index of each expert's page: [experts]; undefined for those without one, which are always there. */
  readonly pages: readonly (number | undefined)[];
}

/** GPU memory for experts, and the page table that routes are resolved with. Both change between submits. */
export interface ExpertSlots {
  upload(site: number, slot: number, bytes: ArrayBuffer): void;
  /** [experts] u32: a slot, or a mark of `kernels/route.ts`. */
  show(site: number, row: Uint32Array<ArrayBuffer>): void;
}

/** Values of a page table row that are no slots. */
export interface Marks {
  readonly absent: number;
  readonly elsewhere: number;
}

export interface StreamParts {
  readonly sites: readonly StreamSite[];
  readonly pool: ExpertPool;
  readonly slots: ExpertSlots;
  readonly marks: Marks;
  /** Pages from the store, in the order asked for; the caller owns the buffers. */
  readonly read: (pages: readonly number[]) => Promise<ArrayBuffer[]>;
  /** For pages on their way and pages kept because they may be wanted again. */
  readonly hostBytes: number;
}

/** A page on its way. */
interface Flight {
  readonly site: number;
  readonly expert: number;
  readonly page: number;
  /** Nobody waits for it yet. */
  isEarly: boolean;
  readonly ended: Promise<void>;
  readonly end: () => void;
  readonly fail: (error: unknown) => void;
}

/**
 * Makes true what an `ExpertPool` decided: store → host cache → GPU slot → page table. A page that arrives is uploaded at
 * once, in queue order behind what was submitted; `show`, called before each submit, tells the GPU what is there by then.
 * What is not there yet is absent to the GPU, whatever the pool says, so a late page can cost time but never a number.
 */
export class ExpertStream {
  readonly #sites: readonly StreamSite[];
  readonly #pool: ExpertPool;
  readonly #slots: ExpertSlots;
  readonly #marks: Marks;
  readonly #read: StreamParts["read"];
  readonly #cache: HostCache;
  readonly #limitBytes: number;
  /** [site][expert] → the slot its bytes are in, ABSENT or PAGELESS. */
  readonly #there: readonly Int32Array<ArrayBuffer>[];
  readonly #rows: readonly Uint32Array<ArrayBuffer>[];
  /** Sites whose row the GPU has not seen. */
  readonly #changed = new Set<number>();
  #elsewhere: { readonly site: number; readonly experts: ReadonlySet<number> } | undefined;
  readonly #flights = new Map<number, Flight>();
  readonly #urgent: Flight[] = [];
  readonly #early: Flight[] = [];
  #bytesInFlight = 0;
  #hostPeak = 0;
  #absentExperts: number;

  constructor({ sites, pool, slots, marks, read, hostBytes }: StreamParts) {
    this.#sites = sites;
    this.#pool = pool;
    this.#slots = slots;
    this.#marks = marks;
    this.#read = read;
    const largest = Math.max(0, ...sites.map(({ pageBytes }) => pageBytes));
    this.#limitBytes = Math.max(2 * largest, Math.min(IN_FLIGHT_BYTES, hostBytes / 4));
    // The store counts what is in flight too.
    this.#cache = new HostCache(Math.max(0, hostBytes - 2 * this.#limitBytes));
    this.#there = sites.map(({ pages }) =>
      Int32Array.from(pages, (page) => (page === undefined ? PAGELESS : ABSENT)),
    );
    this.#rows = sites.map(({ pages }) => new Uint32Array(pages.length));
    this.#absentExperts = this.#there.reduce(
      (sum, site) => sum + site.filter((slot) => slot === ABSENT).length,
      0,
    );
    for (const site of sites.keys()) this.#changed.add(site);
  }

  /** Every expert of every site is in GPU memory. */
  get isComplete(): boolean {
    return this.#absentExperts === 0;
  }

  /** The most bytes held at once: cached, and on their way from the store. */
  get hostBytesPeak(): number {
    return this.#hostPeak;
  }

  hasPage(site: number, expert: number): boolean {
    return this.#sites[site]?.pages[expert] !== undefined;
  }

  isThere(site: number, expert: number): boolean {
    return this.#there[site]?.[expert] !== ABSENT;
  }

  /**
   * Starts the loads of `ExpertPool.plan` or, early, of `ExpertPool.prefetch`; early ones wait behind those that somebody
   * waits for. One that fails early is forgotten: who needs the page asks again.
   */
  start(loads: readonly Load[], isEarly: boolean): void {
    for (const { site, expert, evicted } of loads) {
      if (evicted !== ABSENT) this.#leave(site, evicted);
      const page = this.#pageOf(site, expert);
      const bytes = this.#cache.get(page);
      if (bytes) this.#place(site, expert, bytes);
      else if (!this.#flights.has(page)) this.#enqueue(site, expert, page, isEarly);
    }
    this.#pump();
  }

  /**
   * Resolves when these experts, which all have slots, are in them.
   * @param isUrgent they go before those that nobody waits for
   * @throws what the store throws
   */
  async arrival(site: number, experts: readonly number[], isUrgent = true): Promise<void> {
    const flights = experts
      .filter((expert) => !this.isThere(site, expert))
      .map((expert) => this.#flights.get(this.#pageOf(site, expert)));
    if (isUrgent) for (const flight of flights) if (flight?.isEarly) this.#hurry(flight);
    this.#pump();
    await Promise.all(flights.map((flight) => flight?.ended));
  }

  /** Whoever waits is told `aborted`; what was on its way is not waited for, so that a later call starts anew. */
  abandon(): void {
    const flights = [...this.#flights.values()];
    this.#urgent.length = 0;
    this.#early.length = 0;
    for (const flight of flights) this.#lose(flight, abortedError());
  }

  /** Until `showAll`, these experts of a site are computed by other waves. */
  showWave(site: number, elsewhere: Iterable<number>): void {
    this.#elsewhere = { site, experts: new Set(elsewhere) };
    this.#changed.add(site);
  }

  showAll(): void {
    if (this.#elsewhere) this.#changed.add(this.#elsewhere.site);
    this.#elsewhere = undefined;
  }

  /** Brings the GPU's page table up to date. Between this and the submit nothing may be awaited. */
  show(): void {
    for (const site of this.#changed) {
      const { absent, elsewhere } = this.#marks;
      const there = this.#there[site] as Int32Array;
      const row = this.#rows[site] as Uint32Array<ArrayBuffer>;
      for (const [expert, slot] of there.entries())
        row[expert] = slot === ABSENT ? absent : slot === PAGELESS ? elsewhere : slot;
      if (this.#elsewhere?.site === site)
        for (const expert of this.#elsewhere.experts) row[expert] = elsewhere;
      this.#slots.show(site, row);
    }
    this.#changed.clear();
  }

  #pageOf(site: number, expert: number): number {
    return this.#sites[site]?.pages[expert] as number;
  }

  #bytesOf({ site }: Flight): number {
    return this.#sites[site]?.pageBytes ?? 0;
  }

  #leave(site: number, expert: number): void {
    const there = this.#there[site] as Int32Array;
    // It may have lost its slot before it arrived.
    if (there[expert] !== ABSENT) this.#absentExperts++;
    there[expert] = ABSENT;
    this.#changed.add(site);
    this.#cache.touch(this.#pageOf(site, expert));
  }

  #place(site: number, expert: number, bytes: ArrayBuffer): void {
    const slot = this.#pool.table(site)[expert] as number;
    if (slot === ABSENT) return;
    const there = this.#there[site] as Int32Array;
    this.#slots.upload(site, slot, bytes);
    if (there[expert] === ABSENT) this.#absentExperts--;
    there[expert] = slot;
    this.#changed.add(site);
  }

  #enqueue(site: number, expert: number, page: number, isEarly: boolean): void {
    let end = () => {};
    let fail: Flight["fail"] = () => {};
    const ended = new Promise<void>((resolve, reject) => {
      end = resolve;
      fail = reject;
    });
    // Told to whoever waits; nobody may.
    ended.catch(() => {});
    const flight = { site, expert, page, isEarly, ended, end, fail };
    this.#flights.set(page, flight);
    (isEarly ? this.#early : this.#urgent).push(flight);
  }

  #hurry(flight: Flight): void {
    flight.isEarly = false;
    const at = this.#early.indexOf(flight);
    if (at < 0) return;
    this.#early.splice(at, 1);
    this.#urgent.push(flight);
  }

  #pump(): void {
    for (;;) {
      const batch = this.#nextBatch();
      if (batch.length === 0) return;
      void this.#fetch(batch);
    }
  }

  /** Neighbours in one request where somebody waits for all of them; early pages each as soon as it can be had. */
  #nextBatch(): Flight[] {
    const isUrgent = this.#urgent.length > 0;
    const queue = isUrgent ? this.#urgent : this.#early;
    const limit = isUrgent ? this.#limitBytes : this.#limitBytes / 2;
    const batch: Flight[] = [];
    let bytes = 0;
    for (let flight = queue[0]; flight; flight = queue[0]) {
      if (this.#pool.table(flight.site)[flight.expert] === ABSENT) {
        // It lost its slot before it was asked for.
        queue.shift();
        this.#flights.delete(flight.page);
        flight.end();
        continue;
      }
      const held = this.#bytesInFlight + bytes;
      const more = this.#bytesOf(flight);
      if (held > 0 && held + more > limit) break;
      if (batch.length > 0 && (!isUrgent || bytes + more > BATCH_BYTES)) break;
      queue.shift();
      batch.push(flight);
      bytes += more;
    }
    return batch;
  }

  async #fetch(batch: readonly Flight[]): Promise<void> {
    const bytes = batch.reduce((sum, flight) => sum + this.#bytesOf(flight), 0);
    this.#bytesInFlight += bytes;
    this.#notePeak();
    const answer = await this.#read(batch.map(({ page }) => page)).catch((error: unknown) => ({ error }));
    this.#bytesInFlight -= bytes;
    batch.forEach((flight, i) => {
      if (this.#flights.get(flight.page) !== flight) return;
      if (Array.isArray(answer)) this.#deliver(flight, answer[i] as ArrayBuffer);
      else this.#lose(flight, answer.error);
    });
    this.#notePeak();
    this.#pump();
  }

  #deliver({ site, expert, page, end }: Flight, bytes: ArrayBuffer): void {
    this.#flights.delete(page);
    this.#place(site, expert, bytes);
    this.#cache.put(page, bytes);
    end();
  }

  #lose(flight: Flight, error: unknown): void {
    const { site, expert, page } = flight;
    this.#flights.delete(page);
    const slot = this.#pool.table(site)[expert] as number;
    if (slot !== ABSENT) this.#pool.drop([{ site, expert, slot, evicted: ABSENT }]);
    flight.fail(error);
  }

  #notePeak(): void {
    this.#hostPeak = Math.max(this.#hostPeak, this.#cache.bytes + this.#bytesInFlight);
  }
}
