import { describe, expect, test } from "vitest";
import type { ModelInfo } from "../../src/api.ts";
import type { SluiceError } from "../../src/errors.ts";
import { planModel } from "../../src/model/archs/index.ts";
import { type Forecasting, forecast, positionsNeeded } from "../../src/model/forecast.ts";
import { prepare } from "../../src/model/load.ts";
import { planPages } from "../../src/model/pages.ts";
import { type HorizonHead, outputLinears, seriesOf } from "../../src/model/plan.ts";
import { requireRunnable } from "../../src/model/runnable.ts";
import { moeSites } from "../../src/model/state.ts";
import { readSeries } from "../../src/series.ts";
import { specOf } from "../../src/source/spec.ts";
import { MemoryBackend } from "../../src/store/memory.ts";
import { ModelStore } from "../../src/store/model_store.ts";
import { type TimeMoeOptions, timeMoeFolder } from "../support/time_moe_folder.ts";

async function headerOf(options: TimeMoeOptions, config: Readonly<Record<string, unknown>> = {}) {
  const { file } = await new ModelStore(new MemoryBackend(0)).open(specOf(timeMoeFolder(options, config)));
  return file;
}

const weight = { name: "head", type: "F32", shape: [1, 1], offset: 0, bytes: 4 } as const;
const headsOf = (...lengths: number[]): HorizonHead[] =>
  lengths.map((steps) => ({ steps, linear: { weight } }));

/** Each head says the length of the series, then one more each, plus 1000 times its own length. */
function fake(lengths: readonly number[], cached: readonly number[] = []) {
  const heads = headsOf(...lengths);
  const calls: { positions: number; from: number }[] = [];
  const runner: Forecasting["runner"] = {
    cached: { reusable: (prompt: readonly number[]) => Math.min(cached.length, prompt.length - 1) } as never,
    lastLogits: async (prompt, _, from = 0) => {
      calls.push({ positions: prompt.length, from });
      return Float32Array.from(
        heads.flatMap(({ steps }) =>
          Array.from({ length: steps }, (_, i) => 1000 * steps + prompt.length + i),
        ),
      );
    },
    logits: async () => new Float32Array(0),
  };
  return { forecasting: { runner, size: 1, heads }, calls };
}

describe("the rounds of a forecast", () => {
  test.each<[readonly number[], number, readonly number[]]>([
    [[1, 8, 32, 64], 43, [32, 8, 1, 1, 1]],
    [[1, 8, 32, 64], 0, []],
    [[1], 3, [1, 1, 1]],
    [[5], 7, [5, 5]],
    // As the published code looks for it: up to the first that is too long.
    [[8, 1, 32, 4], 5, [1, 1, 1, 1, 1]],
    [[8, 1], 9, [1, 1, 1, 1, 1, 1, 1, 1, 1]],
  ])("of %j for %i steps", async (lengths, steps, expected) => {
    const { forecasting, calls } = fake(lengths, [0, 0]);
    const points = Float32Array.of(1, 2, 3);
    const counted: number[] = [];
    const events = {
      started: (points: number, reused: number) => void counted.push(reused, points),
      ended: async (points: number) => void counted.push(points),
    };
    const request = { steps, outputs: false };
    const said = await forecast(forecasting, points, request, events, new AbortController().signal);
    expect(said.horizons).toEqual(expected);
    const all = expected.flatMap((length, round) => {
      const before = expected.slice(0, round).reduce((sum, n) => sum + n, 3);
      return Array.from({ length }, (_, i) => 1000 * length + before + i);
    });
    expect([...said.values]).toEqual(all.slice(0, steps));
    // No point runs twice.
    const ends = expected.map((_, round) => expected.slice(0, round).reduce((sum, n) => sum + n, 3));
    expect(calls).toEqual(
      ends.map((positions, round) => ({ positions, from: round === 0 ? 2 : ends[round - 1] })),
    );
    expect(counted).toEqual(steps === 0 ? [] : [2, 1, 1, ...expected.slice(0, -1)]);
    expect(positionsNeeded(forecasting.heads, 3, steps)).toBe(ends.at(-1) ?? 3);
  });

  test("positions of forecasts as long as one may ask for", () => {
    expect(positionsNeeded(headsOf(1, 8, 32, 64), 3, Number.MAX_SAFE_INTEGER - 64)).toBeGreaterThan(2 ** 52);
    expect(positionsNeeded(headsOf(1, 8), 3, 1e12 + 3)).toBe(3 + 1e12 + 2);
    expect(positionsNeeded(headsOf(8, 1, 32, 4), 3, 1e12)).toBe(3 + 1e12 - 1);
  });

  test.each([
    [1, false],
    [0, true],
  ])("what is not a number is not given out: %i steps, outputs %s", async (steps, outputs) => {
    const { forecasting } = fake([1]);
    const logits = async () => Float32Array.of(Number.NaN);
    const runner = { ...forecasting.runner, lastLogits: logits, logits };
    const events = { started: () => {}, ended: async () => {} };
    const signal = new AbortController().signal;
    const said = forecast({ ...forecasting, runner }, Float32Array.of(1), { steps, outputs }, events, signal);
    await expect(said).rejects.toMatchObject({ code: "bad-model-file" });
  });
});

describe("standardised series", () => {
  const info = { name: "model", series: { size: 2, horizons: [1] } } as unknown as ModelInfo;
  const said = (...values: number[]) => ({ values: Float32Array.from(values), horizons: [1], outputs: [] });

  test("each number of a point by itself; a constant is only moved, however it rounds", () => {
    const series = [0.1, 10, 0.1, 30, 0.1, 20];
    const { points, undo } = readSeries(series, { steps: 1, standardise: true }, info);
    expect([...points]).toEqual([0, -1, 0, 1, 0, 0]);
    expect([...undo(said(2, 2)).values]).toEqual([Math.fround(2.1), 40]);
  });

  test("what no float of 32 bits holds is not given out", () => {
    const { undo } = readSeries([1, 3e38, 2, -3e38], { steps: 1, standardise: true }, info);
    expect(() => undo(said(0, 3))).toThrow(/no float of 32 bits holds/);
  });
});

describe("plans", () => {
  test("the ends of a series, and each tensor in a page, once", async () => {
    const plan = planModel(await headerOf({ size: 3, horizons: [2, 5] }));
    requireRunnable(plan);
    expect(plan.vocabulary).toBe(21);
    expect(seriesOf(plan)?.heads.map(({ steps }) => steps)).toEqual([2, 5]);
    const names = planPages(plan).pages.flatMap(({ parts }) => parts.map(({ tensor }) => tensor));
    const dense = names.filter((name) => !name.includes("_exps"));
    expect(dense).toHaveLength(new Set(dense).size);
    const ends = [
      "series_gate.weight",
      "series_value.weight",
      ...outputLinears(plan).map(({ weight }) => weight.name),
    ];
    expect(dense).toEqual(expect.arrayContaining(ends));
  });

  test("experts share the width that a configuration has; dense layers have it", async () => {
    const plan = planModel(await headerOf({ k: 4 }));
    expect(moeSites(plan).map(({ table }) => table[0]?.spec)).toMatchObject([
      { up: { weight: { shape: [6, 24, 64] } } },
      { up: { weight: { shape: [6, 24, 64] } } },
    ]);
    expect(moeSites(planModel(await headerOf({ dense: true })))).toEqual([]);
  });

  test("no such model is asked for tokens ahead", async () => {
    const file = await headerOf({});
    expect(prepare(file, {}).sizes).toMatchObject({ context: 64, chunk: 64 });
  });

  test.each<[string, TimeMoeOptions, Readonly<Record<string, unknown>>, RegExp, string]>([
    [
      "both kinds of layers",
      {},
      { use_dense: true },
      /use_dense true and apply_aux_loss true/,
      "unsupported-model",
    ],
    [
      "neither",
      { dense: true },
      { use_dense: false },
      /use_dense false and apply_aux_loss false/,
      "unsupported-model",
    ],
    ["no horizons", {}, { horizon_lengths: [] }, /horizon_lengths is \[\]/, "bad-model-file"],
    ["half a step", {}, { horizon_lengths: [0.5] }, /horizon_lengths/, "bad-model-file"],
    [
      "more heads than there are",
      {},
      { horizon_lengths: [1, 8, 16] },
      /horizon_2\.weight is missing/,
      "bad-model-file",
    ],
    ["fewer", {}, { horizon_lengths: [1] }, /lm_heads\.1\.out_layer/, "unsupported-model"],
    [
      "points of another size",
      {},
      { input_size: 2 },
      /\[1,64\], but the metadata asks for \[2,64\]/,
      "bad-model-file",
    ],
    ["an unknown function", {}, { hidden_act: "mish" }, /hidden_act "mish"/, "unsupported-model"],
  ])("refused: %s", async (_, options, config, message, code) => {
    const file = await headerOf(options, config);
    let error: SluiceError | undefined;
    try {
      requireRunnable(planModel(file));
    } catch (reason) {
      error = reason as SluiceError;
    }
    expect(error?.message).toMatch(message);
    expect(error).toMatchObject({ code });
  });
});
