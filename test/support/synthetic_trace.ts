import type { Ranking } from "../../src/experts/predictor/predictor.ts";
import type { Trace, TraceToken } from "../../src/experts/trace.ts";
import { integer, normals, type Random, seeded } from "./random.ts";

export interface SyntheticShape {
  readonly sites: number;
  readonly experts: number;
  readonly topK: number;
  readonly pageBytes: number;
  readonly tokens: number;
  readonly lookahead: number;
  readonly seed: number;
}

/** Like a model with 128 experts of which a token takes 8, at 4 bits; fewer layers than the 48 of Qwen3-30B-A3B. */
export const MANY_EXPERTS: SyntheticShape = {
  sites: 16,
  experts: 128,
  topK: 8,
  pageBytes: 2_654_208,
  tokens: 400,
  lookahead: 3,
  seed: 20,
};

/** Standard deviations of what a gate's logit is made of. */
const POPULARITY = 0.4;
const BY_ID = 1;
const BY_TOPIC = 1;
const BY_TOKEN = 0.7;
/** What the gate of the next site gets wrong, and how that grows with the distance. */
const AHEAD_ERROR = 0.45;
/** The share of its topic that a token inherits from the one before. */
const TOPIC_KEEP = 0.97;
const VOCABULARY = 4000;

/**
 * Routes with the regularities that are reported of trained models: experts differ in popularity; the token's id says
 * much, and ids fall as Zipf's law has them; a topic that drifts over some thirty tokens says as much again; the next
 * site's gate, asked a site early, names about four in five of the experts that are taken (Fate).
 */
export function syntheticTrace(shape: SyntheticShape): Trace {
  const { sites, experts, topK, pageBytes, tokens, seed } = shape;
  const random = seeded(seed);
  const popularity = Array.from({ length: sites }, () => normals(random, experts, POPULARITY));
  let topic = Array.from({ length: sites }, () => normals(random, experts, BY_TOPIC));
  const renewal = Math.sqrt(1 - TOPIC_KEEP ** 2);
  const list = Array.from({ length: tokens }, (): TraceToken => {
    const id = Math.floor(VOCABULARY ** random()) - 1;
    const logits = Array.from({ length: sites }, (_, s) => {
      const own = normals(seeded(seed + id * sites + s), experts, BY_ID);
      const noise = normals(random, experts, BY_TOKEN);
      return own.map((x, e) => x + (popularity[s]?.[e] ?? 0) + (topic[s]?.[e] ?? 0) + (noise[e] ?? 0));
    });
    topic = topic.map((old) => {
      const fresh = normals(random, experts, BY_TOPIC * renewal);
      return old.map((x, e) => TOPIC_KEEP * x + (fresh[e] ?? 0));
    });
    return {
      id,
      routes: logits.map((row) => ranked(row).slice(0, topK)),
      ahead: rankingsOf(logits, shape, random),
    };
  });
  return { sites: Array.from({ length: sites }, () => ({ experts, topK, pageBytes })), tokens: list };
}

/** The embedding says something of site 0 only; a site says more of its neighbour than of those behind. */
function rankingsOf(logits: readonly Float32Array[], shape: SyntheticShape, random: Random): Ranking[] {
  const { sites, topK, lookahead } = shape;
  return Array.from({ length: sites }, (_, s) => s - 1).flatMap((from) => {
    const reach = from < 0 ? 1 : Math.min(lookahead, sites - 1 - from);
    return Array.from({ length: reach }, (_, d) => {
      const site = from + 1 + d;
      const error = normals(random, shape.experts, AHEAD_ERROR * (from < 0 ? 2 : Math.sqrt(d + 1)));
      const said = (logits[site] ?? new Float32Array()).map((x, e) => x + (error[e] ?? 0));
      const sum = said.reduce((total, x) => total + Math.exp(x), 0);
      const best = ranked(said).slice(0, topK + Math.ceil(topK / 2));
      return { site, from, experts: best, weights: best.map((e) => Math.exp(said[e] ?? 0) / sum) };
    });
  });
}

const ranked = (row: Float32Array): number[] =>
  Array.from(row.keys()).sort((a, b) => (row[b] ?? 0) - (row[a] ?? 0) || a - b);

/** Routes without any regularity, for properties that hold of every trace. */
export function randomTrace(shape: Omit<SyntheticShape, "lookahead">): Trace {
  const { sites, experts, topK, pageBytes, tokens, seed } = shape;
  const random = seeded(seed);
  const route = (): number[] => {
    const chosen = new Set<number>();
    while (chosen.size < topK) chosen.add(integer(random, experts));
    return [...chosen];
  };
  return {
    sites: Array.from({ length: sites }, () => ({ experts, topK, pageBytes })),
    tokens: Array.from({ length: tokens }, (_, id) => ({
      id,
      routes: Array.from({ length: sites }, route),
      ahead: [],
    })),
  };
}
