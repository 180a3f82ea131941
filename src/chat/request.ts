import type { RouteRequest } from "../api.ts";
import { throwIfAborted } from "../errors.ts";
import type { AnswerSettings } from "./answer.ts";
import {
  asText,
  badRequest,
  isAbsent,
  isObject,
  RANGES,
  type Range,
  refuse,
  requireBiases,
  requireExperts,
  requireInRange,
} from "./check.ts";
import type { CommonCreateParams, RequestOptions, ServiceParams, StreamOptions } from "./shapes.ts";

/** A request as it may come from anywhere: that it is of its type is yet to be seen. */
export type Unchecked = Readonly<Record<string, unknown>>;

/** Parameters that `readCommon` and `readStreaming` check. */
const COMMON: Readonly<
  Record<Exclude<keyof CommonCreateParams, keyof ServiceParams> | "stream" | "stream_options", true>
> = {
  model: true,
  stop: true,
  temperature: true,
  top_p: true,
  top_k: true,
  min_p: true,
  frequency_penalty: true,
  presence_penalty: true,
  repetition_penalty: true,
  logit_bias: true,
  seed: true,
  task: true,
  experts: true,
  route_seed: true,
  n: true,
  cache_prompt: true,
  stream: true,
  stream_options: true,
};

/** The most choices a request may ask for, as published. */
const MOST_CHOICES = 128;
const MAX_TOKENS: Range = { ...RANGES.maxTokens, least: 1 };

/** Names that are checked for both kinds of request, and `own`. */
export function checkedNames(own: Readonly<Record<string, true>>): ReadonlySet<string> {
  return new Set([...Object.keys(COMMON), ...Object.keys(own)]);
}

/** @throws SluiceError `bad-request`, or `aborted` before anything was done */
export function readRequest(request: unknown, { signal }: RequestOptions = {}): Unchecked {
  throwIfAborted(signal ?? undefined);
  if (isObject(request)) return request;
  throw badRequest(`the request is ${asText(request)}`, "Give an object with the request's parameters.");
}

/**
 * @param vocabulary of the model that is to answer
 * @throws SluiceError `bad-request` with the name, the value and what it may be
 */
export function readCommon(
  request: Unchecked,
  maxTokens: number,
  vocabulary: number,
  { signal }: RequestOptions = {},
): AnswerSettings {
  const { model, cache_prompt: reuse } = request;
  if (!isAbsent(model) && typeof model !== "string") refuse("model", model, "Use a name, or leave it out.");
  if (!isAbsent(reuse) && typeof reuse !== "boolean") refuse("cache_prompt", reuse, "Use true or false.");
  const number = (name: string, range: Range, otherwise: number) =>
    readNumber(request, name, range) ?? otherwise;
  return {
    temperature: number("temperature", RANGES.temperature, 1),
    topP: number("top_p", { ...RANGES.topP, isAbove: true }, 1),
    topK: number("top_k", RANGES.topK, 0),
    minP: number("min_p", RANGES.minP, 0),
    frequencyPenalty: number("frequency_penalty", RANGES.frequencyPenalty, 0),
    presencePenalty: number("presence_penalty", RANGES.presencePenalty, 0),
    repetitionPenalty: number("repetition_penalty", RANGES.repetitionPenalty, 1),
    logitBias: requireBiases("logit_bias", request.logit_bias ?? {}, vocabulary),
    ...readRoute(request),
    seed: readNumber(request, "seed", RANGES.seed) ?? Math.floor(Math.random() * 2 ** 32),
    n: number("n", { least: 1, most: MOST_CHOICES, isWhole: true }, 1),
    stop: readStop(request.stop),
    maxTokens,
    reuse: reuse !== false,
    signal: signal ?? undefined,
  };
}

/**
 * The most tokens a choice may have, by whichever of `names` is given.
 * @throws SluiceError `bad-request`, also if two are given that differ
 */
export function readMaxTokens(request: Unchecked, names: readonly string[], otherwise: number): number {
  const given = new Map<string, number>();
  for (const name of names) {
    const value = readNumber(request, name, MAX_TOKENS);
    if (value !== undefined) given.set(name, value);
  }
  const [first = otherwise, ...others] = given.values();
  if (others.some((other) => other !== first)) {
    throw badRequest("two limits of tokens differ", "Give one of them.", Object.fromEntries(given));
  }
  return first;
}

/** The most likely tokens a text completion may name at each place, as published. */
const MOST_TEXT_LOGPROBS = 5;

/**
 * How many of the most likely tokens a chat's answer names; undefined: nor how likely its own were.
 * @throws SluiceError `bad-request`
 */
export function readChatLogprobs(request: Unchecked): number | undefined {
  const { logprobs } = request;
  if (!isAbsent(logprobs) && typeof logprobs !== "boolean")
    refuse("logprobs", logprobs, "Use true or false.");
  const top = readNumber(request, "top_logprobs", RANGES.topLogprobs) ?? 0;
  if (logprobs === true) return top;
  if (top > 0) refuse("top_logprobs", top, "Give `logprobs: true` too, or leave it out.");
  return undefined;
}

/** The same for texts. @throws SluiceError `bad-request` */
export function readTextLogprobs(request: Unchecked): number | undefined {
  return readNumber(request, "logprobs", { ...RANGES.topLogprobs, most: MOST_TEXT_LOGPROBS });
}

/** How the answer is given. @throws SluiceError `bad-request` */
export function readStreaming({ stream, stream_options: options }: Unchecked): {
  readonly isStream: boolean;
  readonly includeUsage: boolean;
} {
  if (!isAbsent(stream) && typeof stream !== "boolean") refuse("stream", stream, "Use true or false.");
  const isStream = stream === true;
  if (isAbsent(options)) return { isStream, includeUsage: false };
  if (!isStream || !isObject(options)) {
    refuse("stream_options", options, "Use an object, and only beside `stream: true`.");
  }
  const { include_usage: includeUsage, ...others } = options as Record<keyof StreamOptions, unknown>;
  const [other, value] = Object.entries(others).find(([, value]) => !isAbsent(value)) ?? [];
  if (other !== undefined) {
    const name = `stream_options.${other}`;
    throw badRequest(`${name} is not supported`, "Leave it out.", { [name]: asText(value) });
  }
  if (!isAbsent(includeUsage) && typeof includeUsage !== "boolean") {
    refuse("stream_options.include_usage", includeUsage, "Use true or false.");
  }
  return { isStream, includeUsage: includeUsage === true };
}

/** How the answer is routed, where the model's routers read that. */
function readRoute(request: Unchecked): RouteRequest {
  const task = readNumber(request, "task", RANGES.task);
  const routeSeed = readNumber(request, "route_seed", RANGES.routeSeed);
  const { experts } = request;
  return {
    ...(task !== undefined && { task }),
    ...(routeSeed !== undefined && { routeSeed }),
    ...(!isAbsent(experts) && { experts: requireExperts("experts", experts) }),
  };
}

function readNumber(request: Unchecked, name: string, range: Range): number | undefined {
  const value = request[name];
  return isAbsent(value) ? undefined : requireInRange(name, value, range);
}

function readStop(value: unknown): readonly string[] {
  if (isAbsent(value)) return [];
  const stops = Array.isArray(value) ? value : [value];
  if (stops.every((stop) => typeof stop === "string" && stop !== "")) return stops;
  return refuse("stop", value, "Use a string or several, none of them empty.");
}
