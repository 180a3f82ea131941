import type { Guess } from "../policy/policy.ts";

/** Experts of one site that one token needs, best first. */
export type SiteRoute = readonly number[];

/** What the router of `site` says when it is given the input of an earlier site. */
export interface Ranking {
  readonly site: number;
  /** Whose gate input it was; -1 is the token's embedding. */
  readonly from: number;
  /** Best first; usually some more than a route has. */
  readonly experts: readonly number[];
  /** Softmax over all experts, beside `experts`. */
  readonly weights: readonly number[];
}

/** A token before its program is submitted. */
export interface TokenStart {
  /** Counts up by one, over all sequences. */
  readonly token: number;
  /** Its id in the vocabulary, -1 where there is none. */
  readonly id: number;
  /** What the first routers say of its embedding, where the GPU evaluated that. */
  readonly ahead: readonly Ranking[];
}

/** A token that stopped at `site` because an expert was absent. */
export interface TokenFault extends TokenStart {
  readonly site: number;
  /** True routes of sites 0 to `site`. */
  readonly routes: readonly SiteRoute[];
  /** What later routers say of the gate input of `site`. */
  readonly ahead: readonly Ranking[];
}

/** A token that is done. */
export interface TokenEnd {
  readonly token: number;
  readonly id: number;
  /** True routes of all sites. */
  readonly routes: readonly SiteRoute[];
}

/** Plain JSON, kept in the catalogue between runs: rows of numbers under names no other predictor uses. */
export type PredictorState = Readonly<Record<string, readonly (readonly number[])[]>>;

/**
 * Says which pages are worth bringing early. For each token: `start` once, `fault` at each stop, `learn` once.
 * Guesses need not be sorted, and may name experts that are resident: those are then kept.
 */
export interface Predictor {
  start(token: TokenStart): Guess[];
  fault(token: TokenFault): Guess[];
  learn(token: TokenEnd): void;
  /** What it learned, for a factory to start from. */
  save?(): PredictorState;
}

/** What a predictor knows of the model. */
export interface PredictorModel {
  /** Per site. */
  readonly sites: readonly { readonly experts: number; readonly topK: number }[];
}
