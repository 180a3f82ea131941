import { describe, expect, test } from "vitest";
import { type InlineOptions, loadModelInline } from "../../src/inline.ts";
import type { Model } from "../../src/language_model.ts";
import { sharedAdapter } from "../support/adapter.ts";
import { collect, failure, loadInline, smallModel } from "../support/engine.ts";
import { exists, nmse, readFloats, readJson, shared } from "../support/golden.ts";
import { normals, seeded } from "../support/random.ts";
import { type TimeMoeOptions, timeMoeFolder, timeMoeHeads } from "../support/time_moe_folder.ts";

/** One slot for the experts of a site. */
const ONE_SLOT = { memory: { gpuExperts: "0%" } } as const;

async function open(source: URL | readonly File[], options: Partial<InlineOptions> = {}): Promise<Model> {
  return loadModelInline(source, { store: "memory", ...options, adapter: await sharedAdapter() });
}

describe.runIf(await exists(shared("golden/papers/timemoe/config.json")))("the authors' own code", () => {
  const place = shared("golden/papers/timemoe/");
  interface Golden {
    readonly steps: number;
    readonly heads_used: readonly number[];
    readonly forecast: readonly number[];
  }

  test("what all heads say, and the forecast; with one slot the same bits", async () => {
    const { series } = await readJson<{ series: number[] }>(new URL("prompt.json", place));
    const golden = await readJson<Golden>(new URL("forecast.json", place));
    const options = { steps: golden.steps, outputs: true };
    const model = await open(place);
    const resident = await model.forecast(series, options);
    expect(model.info).toMatchObject({ vocabulary: 0, series: { size: 1, horizons: [1, 8, 32, 64] } });
    await model.dispose();
    expect(resident.outputs.map(({ steps }) => steps)).toEqual([1, 8, 32, 64]);
    for (const { steps, values } of resident.outputs) {
      const logits = await readFloats(new URL(`logits.h${steps}.f32`, place));
      expect(nmse(values, logits)).toBeLessThan(1e-10);
    }
    expect(resident.horizons).toEqual(golden.heads_used);
    expect(nmse(resident.values, golden.forecast)).toBeLessThan(1e-9);
    const paged = await open(place, ONE_SLOT);
    expect(await paged.forecast(series, options)).toEqual(resident);
    expect((await paged.stats()).faultsPerToken).toBeGreaterThan(0);
    await paged.dispose();
  });
});

const series = [...normals(seeded(5), 12)];

/** The rule of the published loop, over what float64 says behind the last point. */
function expectedForecast(options: TimeMoeOptions, points: readonly number[], steps: number): number[] {
  const { size = 1 } = options;
  const lengths = [options.horizons ?? [1, 8]].flat();
  const sequence = [...points];
  for (let left = steps; left > 0; ) {
    const used = lengths.findLastIndex((length, i) => i === 0 || length <= left);
    const said = timeMoeHeads(options, sequence)[used] as Float64Array;
    const count = (lengths[used] as number) * size;
    sequence.push(...said.slice(-count));
    left -= lengths[used] as number;
  }
  return sequence.slice(points.length, points.length + steps * size);
}

describe("small models, as float64 has them", () => {
  test.each<[string, TimeMoeOptions, number]>([
    ["experts, two horizons", { horizons: [1, 8] }, 11],
    ["dense layers, another function", { dense: true, horizons: [2, 4], act: ["gelu", "gelu-erf"] }, 7],
    ["one horizon, given as a number, and one expert", { horizons: 5, k: 1 }, 7],
    ["points of three numbers", { size: 3, horizons: [1, 2] }, 3],
  ])("%s", async (_, options, steps) => {
    const model = await open(timeMoeFolder(options));
    const { values, outputs } = await model.forecast(series, { steps, outputs: true });
    const heads = timeMoeHeads(options, series);
    expect(outputs).toHaveLength(heads.length);
    for (const [i, head] of heads.entries()) expect(nmse(outputs[i]?.values ?? [], head)).toBeLessThan(1e-10);
    expect(nmse(values, expectedForecast(options, series, steps))).toBeLessThan(1e-9);
    await model.dispose();
    if (options.dense) return;
    const paged = await open(timeMoeFolder(options), ONE_SLOT);
    expect((await paged.forecast(series, { steps })).values).toEqual(values);
    await paged.dispose();
  });
});

test("a forecast: what is not run again, other scales, and what is refused", async () => {
  const model = await open(timeMoeFolder({ horizons: [1, 8] }), { contextTokens: 24 });
  const first = await model.forecast(series, { steps: 9 });
  expect(first.horizons).toEqual([8, 1]);
  // The last point's heads are asked again.
  await model.forecast(series, { steps: 1 });
  expect((await model.stats()).promptTokensReused).toBe(series.length - 1);
  const again = await model.forecast([...series, ...first.values.subarray(0, 8)], { steps: 1 });
  expect(again.values[0]).toBe(first.values[8]);
  expect((await model.stats()).promptTokensReused).toBe(series.length);

  const scaled = await model.forecast(
    series.map((value) => 1000 + 50 * value),
    { steps: 9, standardise: true },
  );
  const mean = series.reduce((sum, value) => sum + value, 0) / series.length;
  const deviation = Math.sqrt(
    series.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (series.length - 1),
  );
  const standard = await model.forecast(
    series.map((value) => (value - mean) / deviation),
    { steps: 9 },
  );
  expect(
    nmse(
      scaled.values.map((value) => (value - 1000) / 50),
      standard.values.map((value) => value * deviation + mean),
    ),
  ).toBeLessThan(1e-8);

  // 12 points and 8 of the first round are in the cache, 4 places are left; the last round's take none.
  expect((await model.forecast(series, { steps: 13 })).values).toHaveLength(13);
  expect(await failure("context-full", () => model.forecast(series, { steps: 14 }))).toMatchObject({
    details: { points: 25, context: 24 },
  });
  expect((await model.forecast(series, { steps: 0 })).values).toHaveLength(0);
  for (const [bad, steps] of [
    [[], 1],
    [[1, Number.NaN], 1],
    [[1e39], 1],
    [["1"] as unknown as number[], 1],
    [series, -1],
    [series, 1.5],
  ] as const) {
    await failure("bad-request", () => model.forecast(bad, { steps }));
  }
  await failure("bad-request", () => collect(model.generate("once")));
  await failure("bad-request", () => collect(model.generateTokens([1, 2])));
  await failure("bad-request", () => model.logits([1, 2]));
  await failure("bad-request", () =>
    model.chat.completions.create({ messages: [{ role: "user", content: "?" }] }),
  );
  await failure("bad-request", () => model.completions.create({ prompt: "once" }));
  const abort = AbortSignal.abort();
  await failure("aborted", () => model.forecast(series, { steps: 1, signal: abort }));
  await model.dispose();
  const language = await loadInline(smallModel());
  await failure("bad-request", () => language.forecast(series, { steps: 1 }));
  await language.dispose();
});
