import { GuessFloor } from "./guess_floor.ts";
import type { Guess, Policy, PolicyFactory } from "./policy/policy.ts";

/** In a page table: the expert has no slot. */
export const ABSENT = -1;
/** In a page table: it has no page, and needs no slot. */
const PAGELESS = -2;

/** The pool of one MoE site. */
export interface PoolSite {
  readonly experts: number;
  readonly topK: number;
  /** Experts without a page: whoever names them names nobody. */
  readonly pageless?: readonly number[] | undefined;
  /** Equal slots of `pageBytes`, 1 to the experts with a page. */
  readonly slots: number;
  readonly pageBytes: number;
}

/** Bring the page of (site, expert) into a slot. The page table already says so. */
export interface Load {
  readonly site: number;
  readonly expert: number;
  readonly slot: number;
  /** Who had the slot; ABSENT if it was free. */
  readonly evicted: number;
}

/** What a pool has done. Each needed expert of each token is one hit or one miss. */
export interface PoolCounters {
  readonly hits: number;
  readonly misses: number;
  /** Loads that a step had to wait for. */
  readonly demandLoads: number;
  /** Loads that a guess asked for. */
  readonly earlyLoads: number;
  /** Early loads that were needed before they were evicted. */
  readonly earlyUsed: number;
  readonly bytesLoaded: number;
  /** Bytes of demand loads: those on the critical path. */
  readonly bytesStalled: number;
  /** Bytes of early loads that were evicted before they were needed. */
  readonly bytesWasted: number;
}

/** Plain JSON, kept in the catalogue between runs. */
export interface PoolState {
  /** How often each expert was needed: [site][expert]. */
  readonly uses: readonly (readonly number[])[];
  /** The chance from which a guess was worth its bytes. */
  readonly floor: number;
}

/** Where the experts of one site are. */
interface Site extends PoolSite {
  /** [experts] → slot, ABSENT or PAGELESS. */
  readonly table: Int32Array<ArrayBuffer>;
  /** [slots] → expert or ABSENT. */
  readonly holders: Int32Array<ArrayBuffer>;
  /** Resident for a guess and not needed since. */
  readonly unproven: Set<number>;
  readonly uses: Float64Array<ArrayBuffer>;
  readonly policy: Policy;
  /** What the step in hand reads. */
  pinned: ReadonlySet<number>;
}

/**
 * Says which experts are in which slots, and which give theirs up. It moves nothing: `plan` and `prefetch` give the
 * loads that make the table true, in the order they are best issued.
 *
 * Per token, for each site whose true route is known: `use`, and if it missed, for each of `waves`: `plan`.
 */
export class ExpertPool {
  readonly #sites: readonly Site[];
  readonly #floor: GuessFloor;
  readonly #counters = {
    hits: 0,
    misses: 0,
    demandLoads: 0,
    earlyLoads: 0,
    earlyUsed: 0,
    bytesLoaded: 0,
    bytesStalled: 0,
    bytesWasted: 0,
  };

  /** @param saved of an earlier run of the same model; anything of another shape is not looked at. */
  constructor(sites: readonly PoolSite[], policy: PolicyFactory, saved?: PoolState) {
    this.#floor = new GuessFloor(saved?.floor);
    this.#sites = sites.map(({ experts, topK, slots, pageBytes, pageless = [] }, s) => {
      const before = saved?.uses.length === sites.length ? saved.uses[s] : undefined;
      const uses = before?.length === experts ? before : undefined;
      return {
        experts,
        topK,
        slots,
        pageBytes,
        table: new Int32Array(experts)
          .fill(ABSENT)
          .map((slot, e) => (pageless.includes(e) ? PAGELESS : slot)),
        holders: new Int32Array(slots).fill(ABSENT),
        unproven: new Set(),
        uses: Float64Array.from(uses ?? new Float64Array(experts)),
        policy: policy({ experts, topK, slots, uses }),
        pinned: new Set(),
      };
    });
  }

  get counters(): PoolCounters {
    return { ...this.#counters };
  }

  /** [experts] → slot, or below 0; the live table, to be read only. */
  table(site: number): Int32Array<ArrayBuffer> {
    return this.#site(site).table;
  }

  /** Experts of `needed` without a slot, in its order. */
  absent(site: number, needed: readonly number[]): number[] {
    const { table } = this.#site(site);
    return [...new Set(needed)].filter((expert) => table[expert] === ABSENT);
  }

  /**
   * Notes the true route of a token at a site, or of a prefill chunk: every expert it needs. Counts hits and misses;
   * called once, before `plan`.
   */
  use(site: number, needed: readonly number[], token: number): void {
    const { table, uses, unproven, policy } = this.#site(site);
    for (const expert of new Set(needed)) {
      if (table[expert] === PAGELESS) continue;
      if (table[expert] === ABSENT) this.#counters.misses++;
      else this.#counters.hits++;
      if (unproven.delete(expert)) this.#counters.earlyUsed++;
      uses[expert] = (uses[expert] as number) + 1;
      policy.used(expert, token);
    }
  }

  /**
   * Splits what a step needs into sets that fit the slots, resident experts first, so that none is evicted before its
   * turn and each is loaded at most once. Plan each set when its turn comes.
   */
  waves(site: number, needed: readonly number[]): number[][] {
    const { table, slots } = this.#site(site);
    const distinct = [...new Set(needed)].filter((expert) => table[expert] !== PAGELESS);
    const resident = distinct.filter((expert) => table[expert] !== ABSENT);
    const order = distinct.length <= slots ? distinct : [...resident, ...this.absent(site, distinct)];
    return Array.from({ length: Math.ceil(order.length / slots) }, (_, i) =>
      order.slice(i * slots, (i + 1) * slots),
    );
  }

  /**
   * Makes room for a wave, at most `slots` experts of one site, and pins it until the site's next `plan` or `release`.
   * @param isEarly nobody waits for it yet
   * @returns the loads to wait for; none if all are resident.
   */
  plan(site: number, wave: readonly number[], token: number, isEarly = false): Load[] {
    const state = this.#site(site);
    state.pinned = new Set(wave);
    return this.absent(site, wave).map((expert) => {
      if (isEarly) this.#counters.earlyLoads++;
      else {
        this.#counters.demandLoads++;
        this.#counters.bytesStalled += state.pageBytes;
      }
      return this.#load(site, expert, this.#freeSlot(site, token), isEarly);
    });
  }

  /** Nothing is read any more: every expert may be evicted. */
  release(): void {
    for (const site of this.#sites) site.pinned = new Set();
  }

  /**
   * Brings guessed experts early where that evicts nothing worth more: not what a step reads, not what is guessed for the
   * token in hand, and not what the policy values higher. Guesses for later tokens only hold what is there: a page that
   * comes too early takes the slot of one that is needed sooner.
   * @param floor guesses below this bring and hold nothing. Default: what has lately been worth its bytes.
   */
  prefetch(guesses: readonly Guess[], token: number, floor = this.#floor.value): Load[] {
    const sorted = [...guesses].sort((a, b) => a.token - b.token || b.score - a.score || a.site - b.site);
    const bySite = this.#sites.map((): Guess[] => []);
    for (const guess of sorted) bySite[guess.site]?.push(guess);
    const loads: Load[] = [];
    bySite.forEach((here, site) => {
      if (here.length > 0) this.#site(site).policy.expect?.(here);
    });
    const firm = sorted.filter((guess) => guess.token <= token && guess.score >= floor);
    const held = this.#sites.map(() => new Set<number>());
    for (const { site, expert } of firm) held[site]?.add(expert);
    for (const guess of firm) {
      if (this.#site(guess.site).table[guess.expert] !== ABSENT) continue;
      const slot = this.#slotForGuess(guess, held[guess.site] as Set<number>, token);
      if (slot === ABSENT) continue;
      this.#counters.earlyLoads++;
      loads.push(this.#load(guess.site, guess.expert, slot, true));
    }
    return loads;
  }

  /** Takes back loads whose pages did not arrive: an upload that failed or was aborted. */
  drop(loads: readonly Load[]): void {
    for (const { site, expert, slot } of loads) {
      const { table, holders, unproven, policy } = this.#site(site);
      if (table[expert] !== slot) continue;
      table[expert] = ABSENT;
      holders[slot] = ABSENT;
      unproven.delete(expert);
      policy.evicted?.(expert);
    }
  }

  /** What to keep for the next run. */
  save(): PoolState {
    return { uses: this.#sites.map(({ uses }) => [...uses]), floor: this.#floor.value };
  }

  #site(site: number): Site {
    return this.#sites[site] as Site;
  }

  /** A slot that nobody needs now: a free one, or that of the least valued. */
  #freeSlot(site: number, token: number): number {
    const { holders, table } = this.#site(site);
    const free = holders.indexOf(ABSENT);
    if (free !== ABSENT) return free;
    return table[this.#victim(site, token, new Set())] as number;
  }

  #slotForGuess({ site, expert, score }: Guess, held: ReadonlySet<number>, token: number): number {
    const { holders, table, policy } = this.#site(site);
    const free = holders.indexOf(ABSENT);
    if (free !== ABSENT) return free;
    const victim = this.#victim(site, token, held);
    if (victim === ABSENT) return ABSENT;
    const worth = Math.max(score, policy.value(expert, token));
    return policy.value(victim, token) < worth ? (table[victim] as number) : ABSENT;
  }

  /** The least valued resident expert that is neither pinned nor in `held`; of equals the lowest. */
  #victim(site: number, token: number, held: ReadonlySet<number>): number {
    const { holders, pinned, policy } = this.#site(site);
    let victim = ABSENT;
    let least = Number.POSITIVE_INFINITY;
    for (const expert of holders) {
      if (expert === ABSENT || pinned.has(expert) || held.has(expert)) continue;
      const value = policy.value(expert, token);
      if (victim !== ABSENT && (value > least || (value === least && expert > victim))) continue;
      victim = expert;
      least = value;
    }
    return victim;
  }

  #load(site: number, expert: number, slot: number, early: boolean): Load {
    const { table, holders, unproven, policy, pageBytes } = this.#site(site);
    const evicted = holders[slot] as number;
    if (evicted !== ABSENT) {
      table[evicted] = ABSENT;
      if (unproven.delete(evicted)) {
        this.#floor.wasted();
        this.#counters.bytesWasted += pageBytes;
      }
      policy.evicted?.(evicted);
    }
    table[expert] = slot;
    holders[slot] = expert;
    if (early) unproven.add(expert);
    policy.loaded?.(expert, early);
    this.#floor.loaded();
    this.#counters.bytesLoaded += pageBytes;
    return { site, expert, slot, evicted };
  }
}
