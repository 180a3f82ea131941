import type { Guess } from "../policy/policy.ts";
import { Calibration } from "./calibration.ts";
import type { Predictor, PredictorModel, PredictorState, Ranking, SiteRoute } from "./predictor.ts";

/** Candidates beyond top-k, as a share of top-k; Fate finds that a few take top-k from 79 % right to 97 %. */
const EXTRA_SHARE = 0.5;
/** Gate weights fall into this many kinds per factor of two. */
const STEPS_PER_OCTAVE = 1;
const WEIGHT_LEVELS = 8;
const RANKS = 1024;

interface Claim {
  readonly kind: number;
  readonly site: number;
  readonly expert: number;
}

/**
 * The routers of later sites, asked too early (Fate, arXiv 2502.12224): the residual changes little from one layer to
 * the next, so they mostly answer as they will. How much an answer is worth depends on the two sites, on its rank and on
 * the gate's own weight, and is learned by watching.
 */
export function nextGate({ sites }: PredictorModel, saved: PredictorState = {}): Predictor {
  const calibration = new Calibration(saved["next-gate"]);
  let claims: Claim[] = [];

  const guess = (token: number, rankings: readonly Ranking[]): Guess[] =>
    rankings.flatMap(({ site, from, experts, weights }) => {
      const topK = sites[site]?.topK ?? 0;
      const count = topK + Math.ceil(topK * EXTRA_SHARE);
      return experts.slice(0, count).map((expert, rank) => {
        const kind = kindOf(from + 1, site, rank, weights[rank] ?? 0, sites.length);
        claims.push({ kind, site, expert });
        return { site, expert, token, score: calibration.chance(kind) };
      });
    });

  return {
    start: ({ token, ahead }) => {
      claims = [];
      return guess(token, ahead);
    },
    fault: ({ token, ahead }) => guess(token, ahead),
    learn: ({ routes }) => {
      for (const { kind, site, expert } of claims) calibration.note(kind, isIn(routes[site], expert));
      claims = [];
    },
    save: () => ({ "next-gate": calibration.save() }),
  };
}

const isIn = (route: SiteRoute | undefined, expert: number): boolean => route?.includes(expert) ?? false;

function kindOf(source: number, site: number, rank: number, weight: number, sites: number): number {
  const octaves = weight > 0 ? -Math.log2(weight) * STEPS_PER_OCTAVE : WEIGHT_LEVELS;
  const level = Math.min(WEIGHT_LEVELS - 1, Math.floor(octaves));
  return ((source * sites + site) * RANKS + Math.min(rank, RANKS - 1)) * WEIGHT_LEVELS + level;
}
