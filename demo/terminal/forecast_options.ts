import { parseArgs } from "node:util";
import type { JobLoad } from "../job.ts";
import {
  backendOf,
  integer,
  LOAD_OPTIONS,
  LOAD_USAGE,
  loadOptions,
  MODEL_USAGE,
  nonEmpty,
  UsageError,
} from "./options.ts";

export interface ForecastOptions {
  readonly model: string | undefined;
  readonly seriesFile: string;
  /** Of a table: its name, or its number from 1 on. */
  readonly column: string | undefined;
  readonly steps: number;
  readonly standardise: boolean;
  /** Points that the head of `logitsFile` says at once; the first head unless given. */
  readonly horizon: number | undefined;
  readonly load: JobLoad;
  readonly logitsFile: string | undefined;
  readonly traceFile: string | undefined;
  readonly json: boolean;
  readonly backend: "chromium" | "node";
}

export const FORECAST_USAGE = `usage: npm run -s forecast -- --model DIR --series FILE --steps N [options]

${MODEL_USAGE}
  --series FILE         numbers: a JSON list, {"series": [...]}, a number a line, or a table with commas, semicolons or tabs
                        (a point of several numbers is a list in JSON)
  --column NAME|N       the column of a table that has several: by its name in the first line, or by number from 1 on
  --steps N             points to say; 0 only evaluates the series
  --standardise         the model reads the series less its mean, over its standard deviation, and what it says is taken
                        back (default: the numbers as they are)
  --logits FILE         write what a head says behind every point: f32 little-endian, points x N numbers
  --horizon N           the head of --logits, by how many points it says at once (default: the model's first)
${LOAD_USAGE}  --json                print only one line: {"forecast", "horizons", "stats"}; else a point a line
  --backend NAME        chromium (default), or node: Dawn for Node, where it finds an adapter
  --help                this text

Bytes take the suffixes K, M and G, powers of 1024.
`;

const OPTIONS = {
  ...LOAD_OPTIONS,
  series: { type: "string" },
  column: { type: "string" },
  steps: { type: "string" },
  standardise: { type: "boolean" },
  horizon: { type: "string" },
  logits: { type: "string" },
  json: { type: "boolean" },
  backend: { type: "string" },
  help: { type: "boolean" },
} as const;

/**
 * @returns `undefined` where help is asked for
 * @throws UsageError naming the option and what it takes
 */
export function parseForecastOptions(args: readonly string[]): ForecastOptions | undefined {
  const values = parsed(args);
  if (values.help) return undefined;
  const { model, series, steps, horizon, standardise = false, json = false } = values;
  if (steps === undefined) throw new UsageError("give --steps, a number of points");
  const logitsFile = nonEmpty("--logits", values.logits);
  if (horizon !== undefined && logitsFile === undefined) throw new UsageError("--horizon is for --logits");
  return {
    model: given("--model", model),
    seriesFile: given("--series", series),
    column: nonEmpty("--column", values.column),
    steps: integer("--steps", steps, 0),
    standardise,
    horizon: horizon === undefined ? undefined : integer("--horizon", horizon, 0),
    load: loadOptions(values),
    logitsFile,
    traceFile: nonEmpty("--trace", values.trace),
    json,
    backend: backendOf(values.backend),
  };
}

function given(option: string, value: string | undefined): string {
  const text = nonEmpty(option, value);
  if (text === undefined) throw new UsageError(`give ${option}`);
  return text;
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, strict: true }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}
