import { MOST_LOGPROBS, type RouteRequest } from "../api.ts";
import { type ErrorDetails, SluiceError } from "../errors.ts";

export interface Range {
  readonly least: number;
  readonly most: number;
  readonly isWhole?: boolean;
  /** `least` itself is too little. */
  readonly isAbove?: boolean;
}

/** What the engine takes for each of its settings. */
export const RANGES = {
  temperature: { least: 0, most: 1e6 },
  topK: { least: 0, most: 2 ** 32 - 1, isWhole: true },
  topP: { least: 0, most: 1 },
  minP: { least: 0, most: 1 },
  frequencyPenalty: { least: -2, most: 2 },
  presencePenalty: { least: -2, most: 2 },
  repetitionPenalty: { least: 1e-6, most: 1e6 },
  logitBias: { least: -100, most: 100 },
  topLogprobs: { least: 0, most: MOST_LOGPROBS, isWhole: true },
  seed: { least: 0, most: 2 ** 32 - 1, isWhole: true },
  task: { least: 0, most: 2 ** 32 - 1, isWhole: true },
  routeSeed: { least: 0, most: 2 ** 32 - 1, isWhole: true },
  maxTokens: { least: 0, most: Number.MAX_SAFE_INTEGER, isWhole: true },
} as const satisfies Record<string, Range>;

/** @returns `value` @throws SluiceError `bad-request` with the name, the value and its range */
export function requireInRange(name: string, value: unknown, range: Range): number {
  const { least, most, isWhole = false, isAbove = false } = range;
  if (
    typeof value === "number" &&
    (isAbove ? value > least : value >= least) &&
    value <= most &&
    (!isWhole || Number.isInteger(value))
  ) {
    return value;
  }
  const bounds = isAbove ? `above ${least}, at most ${most}` : `from ${least} to ${most}`;
  throw badRequest(`${name} is ${asText(value)}`, `Use a ${isWhole ? "whole number" : "number"} ${bounds}.`, {
    [name]: typeof value === "number" ? value : asText(value),
    least,
    most,
  });
}

/** @returns biases by id @throws SluiceError `bad-request` with what is wrong of the first that is */
export function requireBiases(name: string, value: unknown, vocabulary: number): Record<number, number> {
  if (!isObject(value)) return refuse(name, value, "Use an object of numbers by token id.");
  for (const [id, bias] of Object.entries(value)) {
    if (!/^(0|[1-9]\d*)$/.test(id) || Number(id) >= vocabulary) {
      throw badRequest(`${name} names token ${asText(id)}`, `Use whole ids from 0 to ${vocabulary - 1}.`, {
        [name]: id,
        vocabulary,
      });
    }
    requireInRange(`${name}[${id}]`, bias, RANGES.logitBias);
  }
  return value as Record<number, number>;
}

/** @returns ids of experts, or a list of them for each layer @throws SluiceError `bad-request` */
export function requireExperts(name: string, value: unknown): NonNullable<RouteRequest["experts"]> {
  const isIds = (list: unknown) =>
    Array.isArray(list) && list.every((id) => Number.isInteger(id) && id >= 0 && id < 2 ** 32);
  if (isIds(value) || (Array.isArray(value) && value.every(isIds))) return value as number[] | number[][];
  return refuse(name, value, "Use a list of whole numbers from 0 on, or a list of such lists.");
}

/** A value as a message spells it. */
export function asText(value: unknown): string {
  if (typeof value === "number" || typeof value === "bigint" || value === undefined) return String(value);
  try {
    const text = JSON.stringify(value) ?? typeof value;
    return text.length <= 80 ? text : `${text.slice(0, 80)}…`;
  } catch {
    return typeof value;
  }
}

/** Null is what a parameter that is not given may be. */
export function isAbsent(value: unknown): value is null | undefined {
  return value === undefined || value === null;
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Whether JSON can say it: nothing in it contains itself. */
export function isPlain(value: unknown): boolean {
  try {
    return JSON.stringify(value) !== undefined;
  } catch {
    return false;
  }
}

/** @throws SluiceError `bad-request`: `name` is `value`, and what it may be instead */
export function refuse(name: string, value: unknown, remedy: string): never {
  throw badRequest(`${name} is ${asText(value)}`, remedy, { [name]: asText(value) });
}

export function badRequest(message: string, remedy: string, details: ErrorDetails = {}): SluiceError {
  return new SluiceError("bad-request", message, { remedy, details });
}
