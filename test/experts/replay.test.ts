import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { beladyLoads } from "../../src/experts/belady.ts";
import { shareSlots } from "../../src/experts/capacity.ts";
import { DEFAULTS } from "../../src/experts/defaults.ts";
import { POLICIES, type PolicyName } from "../../src/experts/policy/index.ts";
import { PREDICTORS, type PredictorName } from "../../src/experts/predictor/index.ts";
import { prefillMode, touchChances } from "../../src/experts/prefill.ts";
import { type ReplayResult, replay, replayPrefill } from "../../src/experts/replay.ts";
import { decodeTrace, type Trace } from "../../src/experts/trace.ts";
import { fixture } from "../support/golden.ts";
import { MANY_EXPERTS, randomTrace, syntheticTrace } from "../support/synthetic_trace.ts";

const policies = Object.keys(POLICIES) as PolicyName[];
const stories = decodeTrace(readFileSync(fixture("tiny-stories.trace"), "utf8"));
const manyExperts = syntheticTrace({ ...MANY_EXPERTS, sites: 8, tokens: 200 });

function slotsOf(trace: Trace, percent: number): number[] {
  const all = trace.sites.reduce((sum, { experts, pageBytes }) => sum + experts * pageBytes, 0);
  return shareSlots(trace.sites, (all * percent) / 100, DEFAULTS.capacity);
}

function run(
  trace: Trace,
  slots: readonly number[],
  policy: PolicyName,
  predictor: PredictorName,
): ReplayResult {
  const known = { window: 64, routes: (token: number) => trace.tokens[token]?.routes };
  return replay(trace, {
    slots,
    policy: POLICIES[policy],
    predictor: PREDICTORS[predictor]({ model: trace, known }),
  });
}

const bestOnDemand = (trace: Trace, slots: readonly number[]): number =>
  Math.min(...policies.map((policy) => run(trace, slots, policy, "none").bytesLoaded));

const belady = ({ sites, tokens }: Trace, slots: readonly number[]): number =>
  sites.reduce((sum, _, s) => sum + beladyLoads(tokens, s, slots[s] ?? 1), 0);

/** Small shapes, with and without room for a token's experts. */
const shapes = fc
  .record({ experts: fc.integer({ min: 2, max: 10 }), seed: fc.nat(1_000_000) })
  .chain(({ experts, seed }) =>
    fc.record({
      trace: fc
        .integer({ min: 1, max: experts })
        .map((topK) => randomTrace({ sites: 2, experts, topK, pageBytes: 1, tokens: 40, seed })),
      slots: fc.integer({ min: 1, max: experts }),
    }),
  );

describe("the defaults, on the tiny model's recorded routes", () => {
  test.each([50, 25])("at %i percent of the slots: bytes, and those on the critical path", (percent) => {
    const slots = slotsOf(stories, percent);
    const best = bestOnDemand(stories, slots);
    const result = run(stories, slots, DEFAULTS.policy, DEFAULTS.predictor);
    expect(result.bytesLoaded / best).toBeLessThanOrEqual(1.15);
    expect(result.bytesStalled / best).toBeLessThanOrEqual(0.5);
  });
});

test.each([50, 25])(
  "the defaults keep bytes at bay with many experts too, at %i percent of the slots",
  (percent) => {
    const slots = slotsOf(manyExperts, percent);
    const best = bestOnDemand(manyExperts, slots);
    const result = run(manyExperts, slots, DEFAULTS.policy, DEFAULTS.predictor);
    expect(result.bytesLoaded / best).toBeLessThanOrEqual(1.15);
    expect(result.bytesStalled / best).toBeLessThanOrEqual(0.75);
  },
);

test("the synthetic gate, asked a site early, is right about as often as Fate reports", () => {
  let right = 0;
  let all = 0;
  for (const { routes, ahead } of manyExperts.tokens) {
    for (const { from, site, experts } of ahead) {
      if (from < 0 || site !== from + 1) continue;
      const topK = routes[site] ?? [];
      right += topK.filter((expert) => experts.slice(0, topK.length).includes(expert)).length;
      all += topK.length;
    }
  }
  expect(right / all).toBeGreaterThan(0.7);
  expect(right / all).toBeLessThan(0.9);
});

test("nothing loads less than Belady, with any policy and any predictor", () => {
  fc.assert(
    fc.property(shapes, ({ trace, slots }) => {
      const each = trace.sites.map(() => slots);
      const least = belady(trace, each);
      for (const policy of policies) {
        for (const predictor of Object.keys(PREDICTORS) as PredictorName[]) {
          expect(run(trace, each, policy, predictor).bytesLoaded).toBeGreaterThanOrEqual(least);
        }
      }
    }),
    { numRuns: 40 },
  );
});

test("Belady is what exhaustive search finds", () => {
  const search = (needs: readonly number[][], resident: readonly number[], slots: number): number => {
    const [needed, ...rest] = needs;
    if (needed === undefined) return 0;
    const loads = needed.filter((expert) => !resident.includes(expert)).length;
    const others = resident.filter((expert) => !needed.includes(expert));
    const rooms = subsets(others).filter((kept) => kept.length + needed.length <= slots);
    return loads + Math.min(...rooms.map((kept) => search(rest, [...needed, ...kept], slots)));
  };
  const subsets = (list: readonly number[]): number[][] =>
    list.reduce<number[][]>((all, x) => all.concat(all.map((some) => [...some, x])), [[]]);
  for (let seed = 0; seed < 30; seed++) {
    const trace = randomTrace({ sites: 1, experts: 5, topK: 2, pageBytes: 1, tokens: 7, seed });
    const needs = trace.tokens.map(({ routes }) => [...(routes[0] ?? [])]);
    for (const slots of [2, 3, 4]) {
      expect(beladyLoads(trace.tokens, 0, slots)).toBe(search(needs, [], slots));
    }
  }
});

test("with known routes and two tokens' slots nothing ever waits, and no load is one too many", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 4 }),
      fc.nat(1_000_000),
      fc.integer({ min: 0, max: 4 }),
      (topK, seed, more) => {
        const trace = randomTrace({ sites: 3, experts: 12, topK, pageBytes: 1, tokens: 50, seed });
        const slots = trace.sites.map(() => Math.min(12, 2 * topK + more));
        const result = run(trace, slots, "farthest", "known");
        expect(result).toMatchObject({ bytesStalled: 0, faults: 0, misses: 0, bytesWasted: 0 });
        expect(result.bytesLoaded).toBe(belady(trace, slots));
      },
    ),
    { numRuns: 50 },
  );
});

test.each(policies)("%s: one slot per site is enough", (policy) => {
  const trace = randomTrace({ sites: 3, experts: 6, topK: 3, pageBytes: 10, tokens: 30, seed: 1 });
  const result = run(trace, [1, 1, 1], policy, "next-gate+path");
  expect(result.hits + result.misses).toBe(3 * 3 * 30);
  expect(result.bytesStalled).toBe(10 * result.misses);
});

test("when every expert has a slot, each is loaded once", () => {
  const slots = stories.sites.map(({ experts }) => experts);
  const { bytesLoaded, bytesWasted } = run(stories, slots, DEFAULTS.policy, DEFAULTS.predictor);
  expect(bytesLoaded).toBe(stories.sites.reduce((sum, s) => sum + s.experts * s.pageBytes, 0));
  expect(bytesWasted).toBe(0);
});

test("the same trace gives the same counts", () => {
  const slots = slotsOf(stories, 25);
  const results = [1, 2].map(() => run(stories, slots, DEFAULTS.policy, DEFAULTS.predictor));
  expect(results[0]).toEqual(results[1]);
});

describe("prefill", () => {
  const site = { experts: 16, topK: 2 };

  test("touches more the longer the chunk, most of all what was used most", () => {
    const uses = [30, 10, ...new Array<number>(14).fill(1)];
    const [most = 0, less = 0, least = 0] = touchChances({ ...site, uses }, 4);
    expect(most).toBeGreaterThan(less);
    expect(less).toBeGreaterThan(least);
    expect(touchChances(site, 1)).toEqual(new Array(16).fill(1 - (1 - 2 / 16)));
    expect(Math.min(...touchChances({ ...site, uses }, 1000))).toBeGreaterThan(0.99);
  });

  test("takes the ring when nearly everything is touched", () => {
    expect(prefillMode([site, site], 4)).toBe("on-demand");
    expect(prefillMode([site, site], 64)).toBe("ring");
  });

  test("experts without a page are never touched, and do not count among all", () => {
    const half = { ...site, pageless: Array.from({ length: 8 }, (_, i) => 2 * i) };
    const chances = touchChances(half, 3);
    expect(chances.filter((_, e) => e % 2 === 0)).toEqual(new Array(8).fill(0));
    expect(chances[1]).toBeCloseTo(1 - (1 - 2 / 8) ** 3, 12);
    const uses = Array.from({ length: 16 }, (_, e) => e % 2);
    expect(prefillMode([{ ...half, uses }], 64)).toBe("ring");
    expect(prefillMode([half], 64)).toBe("ring");
  });

  test.each(["on-demand", "ring"] as const)(
    "%s brings each touched expert at most once per chunk",
    (mode) => {
      const slots = slotsOf(stories, 25);
      const chunkTokens = 64;
      const result = replayPrefill(stories, { slots, policy: POLICIES.farthest, mode, chunkTokens });
      expect(result.demandLoads).toBe(result.misses);
      const touched = stories.sites.map((_, s) =>
        Array.from({ length: Math.ceil(stories.tokens.length / chunkTokens) }, (_, c) => {
          const chunk = stories.tokens.slice(c * chunkTokens, (c + 1) * chunkTokens);
          return new Set(chunk.flatMap(({ routes }) => routes[s] ?? [])).size;
        }).reduce((sum, n) => sum + n, 0),
      );
      expect(result.hits + result.misses).toBe(touched.reduce((sum, n) => sum + n, 0));
    },
  );

  test("the ring waits for less while there are free slots", () => {
    const slots = slotsOf(stories, 100);
    const [demand, ring] = (["on-demand", "ring"] as const).map((mode) =>
      replayPrefill(stories, { slots, policy: POLICIES.farthest, mode, chunkTokens: 64 }),
    );
    expect(demand?.bytesStalled).toBeGreaterThan(0);
    expect(ring).toMatchObject({ bytesStalled: 0, faults: 0, bytesLoaded: demand?.bytesLoaded });
  });
});
