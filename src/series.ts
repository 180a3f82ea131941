import type { EngineForecastOptions, Forecast, ForecastOptions, ModelInfo } from "./api.ts";
import { SluiceError } from "./errors.ts";

/** A forecast as the engine is asked for it, and how its values are taken back to the caller's numbers. */
export interface SeriesRequest {
  /** [points, size] */
  readonly points: Float32Array;
  readonly settings: EngineForecastOptions;
  undo(said: Forecast): Forecast;
}

/** Checks a request and standardises the series, if asked. @throws SluiceError `bad-request` */
export function readSeries(
  series: ArrayLike<number>,
  { steps, standardise = false, outputs = false }: ForecastOptions,
  { name, series: info }: ModelInfo,
): SeriesRequest {
  if (!info) throw badRequest(`${name} reads tokens, not a series`, "Use `generate` or `chat`.");
  if (!Number.isSafeInteger(steps) || steps < 0) {
    throw badRequest(`steps is ${String(steps)}`, "Use a whole number from 0 on.");
  }
  const numbers = numbersOf(series);
  const settings = { steps, outputs };
  if (!standardise) return { points: Float32Array.from(numbers), settings, undo: (said) => said };
  const channels = Array.from({ length: info.size }, (_, channel) =>
    measure(numbers.filter((_, i) => i % info.size === channel)),
  );
  const of = (i: number) => channels[i % info.size] as Spread;
  return {
    points: Float32Array.from(numbers, (value, i) => (value - of(i).mean) / of(i).deviation),
    settings,
    undo: (said) => ({
      ...said,
      values: said.values.map((value, i) => representable(value * of(i).deviation + of(i).mean)),
    }),
  };
}

interface Spread {
  readonly mean: number;
  readonly deviation: number;
}

/** Mean and standard deviation of a sample; 1 where there is none, so that a constant is only moved. */
function measure(values: readonly number[]): Spread {
  const [first = 0] = values;
  // Rounding would leave most constants a deviation.
  if (values.every((value) => value === first)) return { mean: first, deviation: 1 };
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, deviation: Math.sqrt(squares / (values.length - 1)) || 1 };
}

function representable(value: number): number {
  if (Number.isFinite(Math.fround(value))) return value;
  throw badRequest(
    `what is said of the series is ${value}, which no float of 32 bits holds`,
    "Scale the series.",
  );
}

/** As finite floats of 32 bits. */
function numbersOf(series: ArrayLike<number>): number[] {
  const isList = Array.isArray(series) || ArrayBuffer.isView(series);
  if (!isList) throw badRequest("the series is not a list of numbers", "Give an array, or a typed array.");
  const numbers = Array.from(series);
  const at = numbers.findIndex((value) => typeof value !== "number" || !Number.isFinite(Math.fround(value)));
  if (at === -1) return numbers;
  throw badRequest(
    `number ${at} of the series is ${String(numbers[at])}`,
    "Fill gaps before, and use finite numbers that a float of 32 bits can hold.",
  );
}

function badRequest(message: string, remedy: string): SluiceError {
  return new SluiceError("bad-request", message, { remedy });
}
