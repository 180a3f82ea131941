import { SluiceError } from "../errors.ts";
import type { Ranking, SiteRoute } from "./predictor/predictor.ts";

export interface TraceSite {
  readonly experts: number;
  readonly topK: number;
  readonly pageBytes: number;
}

export interface TraceToken {
  /** In the vocabulary, -1 where there is none. */
  readonly id: number;
  /** The true route of each site, best expert first. */
  readonly routes: readonly SiteRoute[];
  /** What routers said early, by rising source and site; empty if that was not recorded. */
  readonly ahead: readonly Ranking[];
}

/** The routes of every token and site, and what was known of them in advance. */
export interface Trace {
  readonly sites: readonly TraceSite[];
  readonly tokens: readonly TraceToken[];
}
