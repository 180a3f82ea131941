/** `npm run -s forecast -- [options]`: how a series goes on. Exit codes: 0, 1 for a failed run, 2 for wrong usage. */
import process from "node:process";
import type { ForecastJob } from "./job.ts";
import { FORECAST_USAGE, type ForecastOptions, parseForecastOptions } from "./terminal/forecast_options.ts";
import { findModel } from "./terminal/model_place.ts";
import { runOn, runProgram, writablePath } from "./terminal/program.ts";
import { readSeriesFile } from "./terminal/series_file.ts";

async function run({ json, ...options }: ForecastOptions): Promise<string> {
  const place = findModel(options.model);
  const logitsFile = writablePath("--logits", options.logitsFile);
  const traceFile = writablePath("--trace", options.traceFile);
  const { load, steps, standardise, horizon } = options;
  const { numbers: series, size: pointSize } = readSeriesFile(options.seriesFile, options.column);
  const job: ForecastJob = {
    load,
    series,
    pointSize,
    steps,
    standardise,
    horizon,
    wantsLogits: logitsFile !== undefined,
  };
  const surroundings = { place, logitsFile, traceFile, onText: () => {} };
  const { forecast, horizons, stats, info } = await runOn(options.backend, surroundings, job);
  if (json) return `${JSON.stringify({ forecast, horizons, stats })}\n`;
  const { size = 1 } = info.series ?? {};
  const points = Array.from({ length: steps }, (_, i) => forecast.slice(i * size, (i + 1) * size));
  return points.map((point) => `${point.join(",")}\n`).join("");
}

await runProgram(FORECAST_USAGE, async (args) => {
  const options = parseForecastOptions(args);
  process.stdout.write(options === undefined ? FORECAST_USAGE : await run(options));
});
