import { SluiceError } from "../errors.ts";
import type { Ranking, SiteRoute } from "./predictor/predictor.ts";

export interface TraceSite {
  readonly experts: number;
  readonly topK: number;
  readonly pageBytes: number;
  /** Experts without a page: routes name them, and nothing is brought for them. */
  readonly pageless?: readonly number[] | undefined;
}

export interface TraceToken {
  /** In the vocabulary, -1 where there is none. */
  readonly id: number;
  /** The true route of each site, best expert first. */
  readonly routes: readonly SiteRoute[];
  /** What routers said early, by rising source and site; empty where that was not recorded. */
  readonly ahead: readonly Ranking[];
}

/** The routes of every token and site, and what was said of them in advance. */
export interface Trace {
  readonly sites: readonly TraceSite[];
  readonly tokens: readonly TraceToken[];
}

const FORMAT = "sluice-routes";
const VERSION = 1;
const DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
const BASE = DIGITS.length;

/**
 * First line of a trace file, with its line break. Lines are JSON. A number inside a string is one digit of base 64, or
 * two if the model has more than 64 experts or sites.
 */
export function traceHeader(sites: readonly TraceSite[]): string {
  return `${JSON.stringify({ format: FORMAT, version: VERSION, sites })}\n`;
}

/**
 * A token's line: [id, routes, rankings], both strings of words. A word of `routes` is one site's experts; a word of
 * `rankings` is source + 1 (0 is the embedding), site, then experts each with the square root of its weight in one digit.
 */
export function traceLine(sites: readonly TraceSite[], { id, routes, ahead }: TraceToken): string {
  const width = widthOf(sites);
  const write = (value: number): string =>
    width === 1 ? digit(value) : digit(Math.floor(value / BASE)) + digit(value % BASE);
  const rankings = ahead.map(({ from, site, experts, weights }) => {
    const claims = experts.map((expert, i) => write(expert) + digit(weightLevel(weights[i] ?? 0)));
    return write(from + 1) + write(site) + claims.join("");
  });
  const words = [routes.map((route) => route.map(write).join("")), rankings].map((list) => list.join(" "));
  return `${JSON.stringify([id, ...words])}\n`;
}

export function encodeTrace({ sites, tokens }: Trace): string {
  return traceHeader(sites) + tokens.map((token) => traceLine(sites, token)).join("");
}

/** @throws SluiceError `bad-request` with the line that is not one of a trace. */
export function decodeTrace(text: string): Trace {
  const [first = "", ...lines] = text.trimEnd().split("\n");
  const sites = readHeader(parse(first, 1));
  const tokens = lines.map((line, i) => readToken(sites, parse(line, i + 2), i + 2));
  return { sites, tokens };
}

const digit = (value: number): string => DIGITS.charAt(value);

const weightLevel = (weight: number): number => Math.round(Math.sqrt(weight) * (BASE - 1));

const widthOf = (sites: readonly TraceSite[]): number =>
  Math.max(sites.length + 1, ...sites.map(({ experts }) => experts)) > BASE ? 2 : 1;

function parse(line: string, number: number): unknown {
  try {
    return JSON.parse(line);
  } catch (cause) {
    throw badTrace(number, "is not JSON", cause);
  }
}

function readHeader(value: unknown): TraceSite[] {
  const { format, version, sites } = (value ?? {}) as Record<string, unknown>;
  if (format !== FORMAT || version !== VERSION) throw badTrace(1, `is not of format ${FORMAT} ${VERSION}`);
  if (!Array.isArray(sites) || sites.length === 0) throw badTrace(1, "lists no sites");
  return sites.map((site: unknown, s) => {
    const { experts, topK, pageBytes, pageless = [] } = (site ?? {}) as Record<string, unknown>;
    const counts = [experts, topK, pageBytes];
    const isExpert = (value: unknown) => Number.isSafeInteger(value) && Number(value) < Number(experts);
    if (
      !(Array.isArray(pageless) && pageless.every(isExpert) && pageless.length < Number(experts)) ||
      !counts.every(isCount) ||
      Number(topK) > Number(experts) ||
      Number(experts) > BASE * BASE
    ) {
      throw badTrace(1, `has impossible counts for site ${s}: ${JSON.stringify(site)}`);
    }
    const without = pageless.length > 0 ? { pageless: pageless.map(Number) } : {};
    return { experts: Number(experts), topK: Number(topK), pageBytes: Number(pageBytes), ...without };
  });
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) > 0;

function readToken(sites: readonly TraceSite[], value: unknown, line: number): TraceToken {
  const [id, routeText, aheadText] = Array.isArray(value) ? value : [];
  if (!Number.isSafeInteger(id) || typeof routeText !== "string" || typeof aheadText !== "string") {
    throw badTrace(line, "is not [id, routes, rankings]");
  }
  const width = widthOf(sites);
  const words = routeText.split(" ");
  if (words.length !== sites.length) throw badTrace(line, `has ${words.length} routes, not ${sites.length}`);
  const routes = words.map((word, s) => {
    const experts = Array.from({ length: word.length / width }, (_, i) => number(word, i * width, width));
    if (word.length % width > 0 || !experts.every((expert) => expert < (sites[s]?.experts ?? 0))) {
      throw badTrace(line, `names an expert that site ${s} does not have: "${word}"`);
    }
    return experts;
  });
  const ahead = aheadText === "" ? [] : aheadText.split(" ").map((word) => readRanking(sites, word, line));
  return { id, routes, ahead };
}

function readRanking(sites: readonly TraceSite[], word: string, line: number): Ranking {
  const width = widthOf(sites);
  const from = number(word, 0, width) - 1;
  const site = number(word, width, width);
  const count = (word.length - 2 * width) / (width + 1);
  const starts = Array.from({ length: count }, (_, i) => 2 * width + i * (width + 1));
  const experts = starts.map((start) => number(word, start, width));
  const weights = starts.map((start) => (number(word, start + width, 1) / (BASE - 1)) ** 2);
  const has = sites[site]?.experts ?? 0;
  const isSound = Number.isInteger(count) && from < site && weights.every((weight) => weight <= 1);
  if (!isSound || !experts.every((expert) => expert < has)) throw badTrace(line, `has no ranking "${word}"`);
  return { site, from, experts, weights };
}

/** Infinity where a digit is missing or none, so that every comparison with a count fails. */
function number(word: string, start: number, width: number): number {
  let value = 0;
  for (let i = start; i < start + width; i++) {
    const d = i < word.length ? DIGITS.indexOf(word.charAt(i)) : -1;
    if (d < 0) return Number.POSITIVE_INFINITY;
    value = value * BASE + d;
  }
  return value;
}

function badTrace(line: number, what: string, cause?: unknown): SluiceError {
  return new SluiceError("bad-request", `line ${line} of the trace ${what}`, {
    remedy: "Record the trace again with --trace FILE; one from another version may have another form.",
    details: { line },
    cause,
  });
}
