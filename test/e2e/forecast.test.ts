import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { type ForecastJob, runJob } from "../../demo/job.ts";
import { FORECAST_USAGE, parseForecastOptions } from "../../demo/terminal/forecast_options.ts";
import { UsageError } from "../../demo/terminal/options.ts";
import { readSeries } from "../../demo/terminal/series_file.ts";
import { SluiceError } from "../../src/errors.ts";
import type { Model } from "../../src/language_model.ts";
import { nmse } from "../support/golden.ts";
import { timeMoeFolder, timeMoeHeads } from "../support/time_moe_folder.ts";
import { forecast, generate } from "./terminal.ts";

const folder = mkdtempSync(join(tmpdir(), "sluice-forecast-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe("parseForecastOptions", () => {
  const args = ["--model", "m", "--series", "s.csv", "--steps", "3"];

  test("what must be given, and defaults", () => {
    expect(parseForecastOptions(args)).toMatchObject({
      ...{ model: "m", seriesFile: "s.csv", steps: 3, standardise: false, json: false, backend: "chromium" },
      ...{ column: undefined, horizon: undefined, logitsFile: undefined, traceFile: undefined },
    });
    expect(parseForecastOptions(["--help"])).toBeUndefined();
  });

  test("all of them", () => {
    const more =
      "--column 2 --standardise --logits l.f32 --horizon 8 --gpu-experts 0% --store memory --trace t --json";
    expect(parseForecastOptions([...args, ...more.split(" ")])).toMatchObject({
      ...{ column: "2", standardise: true, logitsFile: "l.f32", horizon: 8, traceFile: "t", json: true },
      load: { memory: { gpuExperts: "0%" }, experts: { trace: true }, store: "memory" },
    });
  });

  test.each([
    [["--series", "s", "--steps", "3"]],
    [["--model", "m", "--steps", "3"]],
    [["--model", "m", "--series", "s"]],
    [[...args, "--steps", "-1"]],
    [[...args, "--horizon", "8"]],
    [[...args, "--backend", "gpu"]],
    [[...args, "--tokens", "1"]],
  ])("wrong usage: %j", (wrong) => {
    expect(() => parseForecastOptions(wrong)).toThrow(UsageError);
  });

  test("the usage names every option", () => {
    for (const option of [
      "model",
      "series",
      "column",
      "steps",
      "standardise",
      "horizon",
      "logits",
      "gpu-experts",
    ]) {
      expect(FORECAST_USAGE).toContain(`--${option}`);
    }
  });
});

describe("files of numbers", () => {
  test.each<[string, string, string | undefined, readonly number[]]>([
    ["a JSON list", "[1, -2.5, 3e2]", undefined, [1, -2.5, 300]],
    ["an object", ' {"series": [1, 2], "unit": "m"}', undefined, [1, 2]],
    ["points of several numbers", "[[1, 2], [3, 4]]", undefined, [1, 2, 3, 4]],
    ["a number a line", "1\n2.5\r\n\n-3\n", undefined, [1, 2.5, -3]],
    ["one line", "1, 2,3\n", undefined, [1, 2, 3]],
    ["a table of one column with a name", "load\n1\n2", undefined, [1, 2]],
    ["a column by its name", 'date;"load"\n2026-01-01;1\n2026-01-02;2', "load", [1, 2]],
    ["a column by its number", "5\t6\n7\t8", "2", [6, 8]],
    ["a number that stands in the first line", "2,10\n3,11\n4,12", "2", [10, 11, 12]],
    ["JSON behind a mark of byte order", "\ufeff[1, 2]", undefined, [1, 2]],
    ["a batch of one", "[[1, 2, 3]]", undefined, [1, 2, 3]],
  ])("%s", (_, text, column, expected) => expect(readSeries(text, column).numbers).toEqual(expected));

  test.each([
    ["[1, 2]", undefined],
    ["[[1, 2], [3, 4]]", 2],
    ["[[1], [2]]", 1],
    ["[[1, 2]]", undefined],
    ["1,2", undefined],
  ])("numbers of a point: %s", (text, size) => expect(readSeries(text).size).toBe(size));

  test.each<[string, string, string | undefined, RegExp]>([
    ["several columns", "a,b\n1,2", undefined, /2 columns: a, b/],
    ["no such column", "a,b\n1,2", "c", /no column c/],
    ["decimal commas", "day;load\n1;1,5\n2;2,5", "load", /line 2, column 2: "1,5" is no number/],
    ["uneven lines", "a,b\n1,2\n3,4,5", "b", /line 3 has 3 columns, line 1 has 2/],
    ["a first line that may be names", "2026-01-01,5\n2026-01-02,6", "2", /line 1 may be names or a point/],
    ["a gap", "a,b\n1,2\n3,", "b", /line 3, column 2: "" is no number/],
    ["a text among numbers", "1\nx\n", undefined, /line 2, column 1: "x"/],
    ["torn JSON", "[1, 2", undefined, /5 characters are not JSON/],
    ["null", "[1, null]", undefined, /item 1 is null/],
    ["uneven points", "[[1, 2], [3]]", undefined, /different numbers/],
    ["another object", '{"values": [1]}', undefined, /no list called series/],
  ])("refused: %s", (_, text, column, message) => {
    expect(() => readSeries(text, column)).toThrow(SluiceError);
    expect(() => readSeries(text, column)).toThrow(message);
  });
});

describe("a job", () => {
  const asked = { series: [1, 2, 3, 4, 5, 6], steps: 1, standardise: false, wantsLogits: true };

  /** Of a model of points of three numbers, what its heads of these lengths are given out as: their places among all. */
  async function logitsOf(job: Partial<ForecastJob>, lengths: readonly number[] = [1]) {
    const outputs = lengths.map((steps, i) => ({ steps, values: Float32Array.of(i) }));
    const model = {
      info: { name: "it", series: { size: 3, horizons: lengths } },
      forecast: async () => ({ values: new Float32Array(3), horizons: [1], outputs }),
      stats: async () => ({}),
      dispose: async () => {},
    } as unknown as Model;
    const given: number[] = [];
    const onLogits = async (values: Float32Array) => void given.push(...values);
    const events = { onText: () => {}, onLogits, onTrace: async () => {} };
    await runJob(async () => model, { ...asked, ...job }, events);
    return given;
  }

  test("points of other sizes than the model's are refused, where the file tells", async () => {
    await expect(logitsOf({ pointSize: 2 })).rejects.toThrow(/points of the series have 2 numbers/);
    expect(await logitsOf({ pointSize: 3 })).toEqual([0]);
    expect(await logitsOf({})).toEqual([0]);
  });

  test("the head of --horizon: the last of those that say as many, as the published code has it", async () => {
    expect(await logitsOf({ horizon: 8 }, [1, 8, 8])).toEqual([2]);
    expect(await logitsOf({}, [1, 8, 1])).toEqual([2]);
    await expect(logitsOf({ horizon: 2 }, [1, 8])).rejects.toThrow(/no head of the model says 2 points/);
  });
});

describe("a run", () => {
  const options = { horizons: [1, 4] };
  const series = [0.5, -1.25, 2, 0.75, -0.5];
  const file = join(folder, "series.csv");
  writeFileSync(file, `hour,load\n${series.map((value, i) => `${i},${value}`).join("\n")}\n`);

  test("prints the forecast, and writes what a head says; generate refuses such a model", async () => {
    for (const part of timeMoeFolder(options)) {
      writeFileSync(join(folder, part.name), new Uint8Array(await part.arrayBuffer()));
    }
    const logits = join(folder, "h4.f32");
    const args = ["--model", folder, "--series", file, "--column", "load", "--steps", "3", "--json"];
    const run = await forecast([...args, "--logits", logits, "--horizon", "4", "--gpu-experts", "0%"]);
    expect({ stderr: run.stderr, exitCode: run.exitCode }).toEqual({ stderr: "", exitCode: 0 });
    expect(run.stdout).toMatch(/^[^\n]+\n$/);
    const line = JSON.parse(run.stdout) as { forecast: number[]; horizons: number[] };
    expect(Object.keys(line)).toEqual(["forecast", "horizons", "stats"]);
    expect(line.horizons).toEqual([1, 1, 1]);
    const [one, four] = timeMoeHeads(options, series) as [Float64Array, Float64Array];
    expect(line.forecast).toHaveLength(3);
    expect(line.forecast[0]).toBeCloseTo(one.at(-1) as number, 5);
    const written = new Float32Array(new Uint8Array(readFileSync(logits)).buffer);
    expect(nmse(written, four)).toBeLessThan(1e-10);

    const story = await generate(["--model", folder, "--tokens", "1,2", "--json"]);
    expect(story.exitCode).toBe(1);
    expect(story.stderr).toMatch(/^bad-request: .*reads a series/);
  });

  test("ends with 1 for what cannot be read and 2 for wrong usage", async () => {
    const runs = await Promise.all([
      forecast(["--model", folder, "--series", join(folder, "none"), "--steps", "1"]),
      forecast(["--model", folder, "--steps", "1"]),
    ]);
    expect(runs.map(({ exitCode }) => exitCode)).toEqual([1, 2]);
    expect(runs[0]?.stderr).toMatch(/^bad-request: the series: cannot read/);
    expect(runs[1]?.stderr).toContain(FORECAST_USAGE);
  });
});
