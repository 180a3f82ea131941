import type { PolicyFactory } from "./policy/policy.ts";
import { ExpertPool, type PoolCounters } from "./pool.ts";
import type { Predictor } from "./predictor/predictor.ts";
import type { Trace } from "./trace.ts";

/** What a trace costs with one policy, one predictor and one sharing of slots. */
export interface ReplayResult extends PoolCounters {
  readonly tokens: number;
  /** Times a token's program stopped at an absent expert. */
  readonly faults: number;
}

export interface ReplayOptions {
  /** Per site. */
  readonly slots: readonly number[];
  readonly policy: PolicyFactory;
  readonly predictor: Predictor;
  /** Guesses below this are not loaded. */
  readonly floor?: number;
}

/**
 * Decodes a trace as the engine does, without a GPU. Between tokens the start guesses are brought in. A token's program
 * runs until a site misses; its pages are waited for; what is then guessed of later sites comes along with them; the
 * program goes on from that site. A page is on the critical path if a site had to wait for it.
 */
export function replay(trace: Trace, { slots, policy, predictor, floor }: ReplayOptions): ReplayResult {
  const pool = new ExpertPool(
    trace.sites.map((site, s) => ({ ...site, slots: slots[s] ?? 1 })),
    policy,
  );
  let faults = 0;
  trace.tokens.forEach(({ id, routes, ahead }, token) => {
    const from = (source: number) => ahead.filter((ranking) => ranking.from === source);
    pool.release();
    pool.prefetch(predictor.start({ token, id, ahead: from(-1) }), token, floor);
    routes.forEach((route, site) => {
      const isMissing = pool.absent(site, route).length > 0;
      pool.use(site, route, token);
      if (!isMissing) return;
      faults++;
      for (const wave of pool.waves(site, route)) pool.plan(site, wave, token);
      const known = { token, id, site, routes: routes.slice(0, site + 1), ahead: from(site) };
      pool.prefetch(predictor.fault(known), token, floor);
    });
    predictor.learn({ token, id, routes });
  });
  return { ...pool.counters, tokens: trace.tokens.length, faults };
}
