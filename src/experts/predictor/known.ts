import type { Guess } from "../policy/policy.ts";
import type { Predictor, SiteRoute } from "./predictor.ts";

/**
 * Routes that are known before the token runs, because the model decides them early: one route for the whole stack
 * (Read-ME), the previous layer's pre-gate (Pre-gated MoE) or the request (task and enforced routing).
 */
export interface KnownRoutes {
  /** The routes of all sites of a token, empty where a site's is not known; undefined beyond what is known. */
  routes(token: number): readonly SiteRoute[] | undefined;
  /** Tokens past the one in hand whose routes are worth asking for. */
  readonly window: number;
}

/** Exact by construction: every guess has score 1. */
export function known({ routes, window }: KnownRoutes): Predictor {
  const guess = (first: number, from: number): Guess[] =>
    Array.from({ length: window + 1 }, (_, i) => first + i).flatMap((token) =>
      (routes(token) ?? []).flatMap((route, site) =>
        token === first && site < from ? [] : route.map((expert) => ({ site, expert, token, score: 1 })),
      ),
    );
  return {
    start: ({ token }) => guess(token, 0),
    fault: ({ token, site }) => guess(token, site + 1),
    learn: () => {},
  };
}
