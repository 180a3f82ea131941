import { Activity } from "./activity.ts";
import type { Guess, PolicyFactory } from "./policy/policy.ts";
import { ExpertPool, type PoolSite, type PoolState } from "./pool.ts";
import type { Predictor, PredictorState, Ranking, SiteRoute } from "./predictor/predictor.ts";
import { prefillMode, ringGuesses } from "./prefill.ts";
import type { RouteRows } from "./routes.ts";
import { ExpertStream, type StreamParts, type StreamSite } from "./stream.ts";
import { type TraceSite, traceHeader, traceLine } from "./trace.ts";

/** Below any guess: what the ring and `fill` bring need not be likely. */
const ANY = 0;

/** What a site's latest token weighs in how likely it misses. */
const RECENT = 0.1;
/** How likely a site misses before anything is known of it. */
const UNKNOWN = 0.5;

/** Experts that a site is certain to need. */
export interface KnownSite {
  readonly site: number;
  readonly experts: SiteRoute;
}

export type PagerSite = PoolSite & StreamSite;

export interface PagerParts extends Omit<StreamParts, "sites" | "pool"> {
  readonly sites: readonly PagerSite[];
  readonly policy: PolicyFactory;
  readonly predictor: Predictor;
  /** Of an earlier run of the same model. */
  readonly saved?: PoolState | undefined;
  readonly keepsTrace: boolean;
}

/** Counted since the load, prompts included. */
export interface PagingCounters {
  /** Experts that tokens asked for, site by site; a chunk of a prompt asks for each of its experts once. */
  readonly expertsNeeded: number;
  /** Of those, the ones that had no slot, or not yet. */
  readonly expertsMissed: number;
  readonly faults: number;
  /** Bytes of pages that a program had to wait for. */
  readonly bytesStalled: number;
}

/** What the engine remembers of a model from one load to the next. */
export interface Learned {
  readonly pool: PoolState;
  readonly predictors: PredictorState;
}

/**
 * Leads a model's programs through experts that do not all fit: what a program found absent is brought, what later sites
 * will need is brought early, and what was used is learned from.
 *
 * For each replay: `startToken` or `startChunk`; at every stop `stopped`, for each of its waves `plan`, and `expect`; at the
 * end `finished`.
 */
export class Pager {
  readonly stream: ExpertStream;
  readonly keepsTrace: boolean;
  readonly activity: Activity;
  readonly #sites: readonly PagerSite[];
  readonly #pool: ExpertPool;
  readonly #predictor: Predictor;
  readonly #counters = { expertsNeeded: 0, expertsMissed: 0, faults: 0, bytesStalled: 0 };
  readonly #trace: string[];
  /** Per site; 1 is always. */
  readonly #missChances: number[];
  /** Per site: how many experts tokens were routed to that were seen. */
  readonly #seen: { tokens: number; routes: number; most: number }[];
  /** Counts replays, as the pool counts tokens. */
  #token = 0;
  #id = -1;
  /** Sites whose route the pool has been told. */
  #sitesUsed = 0;
  /** Tokens of the chunk in hand if all experts of the next site are worth bringing. */
  #ringTokens = 0;

  constructor(parts: PagerParts) {
    const { sites, policy, predictor, saved } = parts;
    this.#sites = sites;
    this.#pool = new ExpertPool(sites, policy, saved);
    this.#predictor = predictor;
    this.stream = new ExpertStream({ ...parts, pool: this.#pool });
    this.keepsTrace = parts.keepsTrace;
    this.activity = new Activity(sites.map(({ experts }) => experts));
    this.#missChances = sites.map((site) => (site.slots < pagesOf(site) ? UNKNOWN : 0));
    this.#seen = sites.map(({ topK }) => ({ tokens: 0, routes: 0, most: topK }));
    this.#trace = [traceHeader(sites.map(traceSite))];
  }

  get counters(): PagingCounters {
    return { ...this.#counters };
  }

  /** Somebody wants to know the routes. */
  get wantsRoutes(): boolean {
    return this.keepsTrace || this.activity.isWatched;
  }

  /** How likely a program stops at a site, by how it has lately been. */
  missChance(site: number): number {
    return this.#missChances[site] ?? 0;
  }

  /** Of the expert bytes brought early, the share that gave up its slot unused. */
  get prefetchWaste(): number {
    const { bytesLoaded, bytesStalled, bytesWasted } = this.#pool.counters;
    const early = bytesLoaded - bytesStalled;
    return early > 0 ? bytesWasted / early : 0;
  }

  /**
   * A token before its program is submitted.
   * @param ahead what routers said of its embedding
   * @param known sites whose experts are certain
   */
  startToken(id: number, ahead: readonly Ranking[], known: readonly KnownSite[] = []): void {
    this.#begin(id);
    this.expectKnown(known);
    const isKnown = new Set(known.map(({ site }) => site));
    const guesses = this.#predictor.start({ token: this.#token, id, ahead });
    this.#prefetch(guesses.filter(({ site }) => !isKnown.has(site)));
  }

  /** A chunk of a prompt before its program is submitted. */
  startChunk(tokens: number, known: readonly KnownSite[] = []): void {
    this.#begin(-1);
    this.expectKnown(known);
    if (known.length > 0) return;
    const mode = prefillMode(this.#withUses(), tokens);
    this.#ringTokens = mode === "ring" ? tokens : 0;
    this.#turnRing(0);
  }

  /**
   * The program stopped at `site`: notes the routes that are new.
   * @returns sets of experts that fit the slots; the site is done when each was brought and computed.
   */
  stopped(site: number, routes: RouteRows): number[][] {
    const needed = routes.needed(site, this.#hasPage(site));
    const missed = needed.filter((expert) => !this.stream.isThere(site, expert));
    this.waited(site, missed);
    this.#use(site + 1, routes);
    this.#missChances[site] = this.missChance(site) + RECENT;
    return this.#pool.waves(site, needed);
  }

  /** The program stopped at a site's experts before their turn: they may still come in time. */
  stoppedEarly(site: number): void {
    this.#missChances[site] = this.missChance(site) + RECENT;
  }

  /** Starts to bring what is certain to be needed, and keeps it there: where the slots hold all that a site needs. */
  expectKnown(known: readonly KnownSite[]): void {
    for (const { site, experts } of known) {
      if (experts.length > (this.#sites[site]?.slots ?? 0)) continue;
      this.stream.start(this.#pool.plan(site, experts, this.#token, true), true);
    }
  }

  /** Those of a site's experts that have a page, which may be missing. */
  paged(site: number, experts: SiteRoute): SiteRoute {
    return experts.filter(this.#hasPage(site));
  }

  isReady(site: number, experts: readonly number[]): boolean {
    return experts.every((expert) => this.stream.isThere(site, expert));
  }

  /** @returns sets of experts that fit the slots, as `stopped` does for a site whose experts are known */
  waves(site: number, needed: readonly number[]): number[][] {
    return this.#pool.waves(site, needed);
  }

  /** The program had to wait at a site for experts that were known before. */
  waited(site: number, missed: readonly number[]): void {
    this.#counters.faults++;
    this.#counters.expertsMissed += missed.length;
    this.#counters.bytesStalled += missed.length * (this.#sites[site]?.pageBytes ?? 0);
    this.activity.missed(site, missed);
  }

  /** Starts to bring a wave; `stream.arrival` tells when it is there. */
  plan(site: number, wave: readonly number[]): void {
    this.stream.start(this.#pool.plan(site, wave, this.#token), false);
  }

  /** Brings early what sites past `site` will need. @param ahead what their routers say of its input */
  expect(site: number, routes: RouteRows, ahead: readonly Ranking[]): void {
    if (this.#ringTokens > 0) this.#turnRing(site + 1);
    if (routes.tokens > 1) return;
    const known = { token: this.#token, id: this.#id, site, routes: routes.routes(0, site + 1), ahead };
    this.#prefetch(this.#predictor.fault(known));
  }

  /** The program reached its end. @param ids of its tokens @param ahead of each token, for the trace */
  finished(ids: readonly number[], routes: RouteRows, ahead: readonly Ranking[] = []): void {
    this.#use(this.#sites.length, routes);
    this.activity.ran(routes);
    for (const [t, id] of ids.entries()) {
      const token = { id, routes: routes.routes(t) };
      this.#predictor.learn({ ...token, token: this.#token });
      if (this.keepsTrace) this.#trace.push(traceLine(this.#sites, { ...token, ahead }));
    }
    this.#pool.release();
  }

  /** Tokens ran that could not miss anything, and whose routes nobody read. */
  ranResident(tokens: number): void {
    const each = this.#sites.reduce((sum, _, site) => sum + this.#routesOf(site), 0);
    this.#counters.expertsNeeded += tokens * each;
  }

  /** Experts with pages that a token is routed to: top-k, or the mean where their number varies. */
  #routesOf(site: number): number {
    const { tokens, routes, most } = this.#seen[site] ?? { tokens: 0, routes: 0, most: 0 };
    return tokens > 0 ? routes / tokens : most;
  }

  /** Tokens are routed otherwise from now on. @param most experts of a token at a site */
  rerouted(most: (site: number) => number): void {
    this.#sites.forEach((_, site) => {
      this.#seen[site] = { tokens: 0, routes: 0, most: most(site) };
    });
  }

  /** Brings experts into free slots, most used first, as long as they fit a batch; false if there is nothing to bring. */
  async fill(batchBytes: number): Promise<boolean> {
    const guesses = this.#withUses().flatMap((info, site) => {
      const { uses, slots, experts, pageBytes } = info;
      if (slots < pagesOf(info)) return [];
      const absent = Array.from({ length: experts }, (_, expert) => expert).filter(
        (expert) => !this.stream.isThere(site, expert),
      );
      return absent.map((expert) => ({ site, expert, pageBytes, uses: uses[expert] ?? 0 }));
    });
    guesses.sort((a, b) => b.uses - a.uses || a.site - b.site || a.expert - b.expert);
    let bytes = 0;
    const batch = guesses.filter(({ pageBytes }, i) => {
      bytes += pageBytes;
      return i === 0 || bytes <= batchBytes;
    });
    const token = this.#token;
    const wanted = batch.map(({ site, expert }) => ({ site, expert, token, score: 1 }));
    this.#prefetch(wanted, ANY);
    await Promise.all(wanted.map(({ site, expert }) => this.stream.arrival(site, [expert], false)));
    return batch.length > 0;
  }

  /** For the next load of the same model. */
  save(): Learned {
    return { pool: this.#pool.save(), predictors: this.#predictor.save?.() ?? {} };
  }

  /** The routes of all tokens so far, as a trace file. */
  trace(): string {
    return this.#trace.join("");
  }

  #begin(id: number): void {
    // One that was aborted left its wave behind.
    this.#pool.release();
    this.#token++;
    this.#id = id;
    this.#sitesUsed = 0;
    this.#ringTokens = 0;
  }

  #use(end: number, routes: RouteRows): void {
    for (; this.#sitesUsed < end; this.#sitesUsed++) {
      const hasPage = this.#hasPage(this.#sitesUsed);
      const needed = routes.needed(this.#sitesUsed, hasPage);
      const seen = this.#seen[this.#sitesUsed];
      if (seen) {
        seen.tokens += routes.tokens;
        seen.routes += routes.count(this.#sitesUsed, hasPage);
      }
      this.#counters.expertsNeeded += needed.length;
      this.#pool.use(this.#sitesUsed, needed, this.#token);
      this.#missChances[this.#sitesUsed] = this.missChance(this.#sitesUsed) * (1 - RECENT);
    }
  }

  #hasPage(site: number): (expert: number) => boolean {
    return (expert) => this.stream.hasPage(site, expert);
  }

  #prefetch(guesses: readonly Guess[], floor?: number): void {
    this.stream.start(this.#pool.prefetch(guesses, this.#token, floor), true);
  }

  #turnRing(site: number): void {
    const info = this.#withUses()[site];
    if (this.#ringTokens === 0 || info === undefined) return;
    this.#prefetch(ringGuesses(site, info, this.#ringTokens, this.#token), ANY);
  }

  #withUses() {
    const { uses } = this.#pool.save();
    return this.#sites.map((site, s) => ({ ...site, topK: this.#routesOf(s), uses: uses[s] ?? [] }));
  }
}

/** Experts of a site that have a page. */
function pagesOf({ experts, pageless = [] }: PagerSite): number {
  return experts - pageless.length;
}

function traceSite({ experts, topK, pageBytes, pageless = [] }: PagerSite): TraceSite {
  return { experts, topK, pageBytes, ...(pageless.length > 0 ? { pageless } : {}) };
}
