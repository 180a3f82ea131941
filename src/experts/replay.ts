import type { PolicyFactory } from "./policy/policy.ts";
import { ExpertPool, type PoolCounters } from "./pool.ts";
import type { Predictor } from "./predictor/predictor.ts";
import { type PrefillMode, ringGuesses } from "./prefill.ts";
import type { Trace } from "./trace.ts";

/** The ring does not ask whether an expert is needed. */
const RING_FLOOR = 0;

/** What a trace costs with one policy, one predictor and one sharing of slots. */
export interface ReplayResult extends PoolCounters {
  readonly tokens: number;
  /** Times a program stopped at absent experts. */
  readonly faults: number;
}

export interface ReplayOptions {
  /** Per site. */
  readonly slots: readonly number[];
  readonly policy: PolicyFactory;
  readonly predictor: Predictor;
}

/**
 * Decodes a trace as the engine does, without a GPU. Between tokens what is guessed at their start comes in. A token's
 * program runs until a site misses; its pages are waited for; what is then guessed of later sites comes along with them;
 * the program goes on from there. A page is on the critical path if a site had to wait for it.
 */
export function replay(trace: Trace, { slots, policy, predictor }: ReplayOptions): ReplayResult {
  const pool = poolFor(trace, slots, policy);
  let faults = 0;
  for (const [token, { id, routes, ahead }] of trace.tokens.entries()) {
    const saidFrom = (source: number) => ahead.filter(({ from }) => from === source);
    pool.prefetch(predictor.start({ token, id, ahead: saidFrom(-1) }), token);
    for (const [site, route] of routes.entries()) {
      if (!bring(pool, site, route, token)) continue;
      faults++;
      const sofar = { site, routes: routes.slice(0, site + 1), ahead: saidFrom(site) };
      pool.prefetch(predictor.fault({ token, id, ...sofar }), token);
    }
    predictor.learn({ token, id, routes });
    pool.release();
  }
  return { ...pool.counters, tokens: trace.tokens.length, faults };
}

export interface PrefillReplayOptions {
  readonly slots: readonly number[];
  readonly policy: PolicyFactory;
  readonly mode: PrefillMode;
  readonly chunkTokens: number;
}

/** Reads a trace as one prompt in chunks, each of which needs what any of its tokens needs. */
export function replayPrefill(trace: Trace, options: PrefillReplayOptions): ReplayResult {
  const { slots, policy, mode, chunkTokens } = options;
  const pool = poolFor(trace, slots, policy);
  let faults = 0;
  const bringNext = (site: number, chunk: number): void => {
    const info = trace.sites[site];
    if (mode !== "ring" || info === undefined) return;
    const { uses } = pool.save();
    pool.prefetch(ringGuesses(site, { ...info, uses: uses[site] }, chunkTokens, chunk), chunk, RING_FLOOR);
  };
  for (let chunk = 0; chunk * chunkTokens < trace.tokens.length; chunk++) {
    const tokens = trace.tokens.slice(chunk * chunkTokens, (chunk + 1) * chunkTokens);
    bringNext(0, chunk);
    for (const site of trace.sites.keys()) {
      const needed = tokens.flatMap(({ routes }) => routes[site] ?? []);
      if (bring(pool, site, needed, chunk)) faults++;
      bringNext(site + 1, chunk);
    }
    pool.release();
  }
  return { ...pool.counters, tokens: trace.tokens.length, faults };
}

function poolFor({ sites }: Trace, slots: readonly number[], policy: PolicyFactory): ExpertPool {
  return new ExpertPool(
    sites.map((site, s) => ({ ...site, slots: slots[s] ?? 1 })),
    policy,
  );
}

/** Whether the program had to stop for what `site` needs. */
function bring(pool: ExpertPool, site: number, needed: readonly number[], token: number): boolean {
  const stops = pool.absent(site, needed).length > 0;
  pool.use(site, needed, token);
  for (const wave of pool.waves(site, needed)) pool.plan(site, wave, token);
  return stops;
}
