import fc from "fast-check";
import { expect, test } from "vitest";
import { POLICIES, type PolicyName } from "../../src/experts/policy/index.ts";
import { ABSENT, ExpertPool, type Load, type PoolSite } from "../../src/experts/pool.ts";

const PAGE_BYTES = 100;
const FLOOR = 0.5;

const poolOf = (slots: number, experts = 8, policy: PolicyName = "lru"): ExpertPool =>
  new ExpertPool([{ experts, topK: 2, slots, pageBytes: PAGE_BYTES }], POLICIES[policy]);

/** As the engine does for a site of a token. */
function step(pool: ExpertPool, site: number, needed: readonly number[], token: number): Load[] {
  pool.use(site, needed, token);
  return pool.waves(site, needed).flatMap((wave) => pool.plan(site, wave, token));
}

const guess = (expert: number, score: number, token = 0) => ({ site: 0, expert, token, score });
const expertsOf = (loads: readonly Load[]): number[] => loads.map(({ expert }) => expert);

test("fills free slots first, then takes the one of the least valued", () => {
  const pool = poolOf(2);
  expect(step(pool, 0, [3, 5], 0)).toEqual([
    { site: 0, expert: 3, slot: 0, evicted: ABSENT },
    { site: 0, expert: 5, slot: 1, evicted: ABSENT },
  ]);
  expect(step(pool, 0, [5], 1)).toEqual([]);
  expect(step(pool, 0, [6], 2)).toEqual([{ site: 0, expert: 6, slot: 0, evicted: 3 }]);
  expect([...pool.table(0)]).toEqual([ABSENT, ABSENT, ABSENT, ABSENT, ABSENT, 1, 0, ABSENT]);
  expect(pool.counters).toMatchObject({ hits: 1, misses: 3, demandLoads: 3, bytesStalled: 3 * PAGE_BYTES });
});

test("what is needed twice is loaded and counted once", () => {
  const pool = poolOf(2);
  expect(expertsOf(step(pool, 0, [3, 3, 3], 0))).toEqual([3]);
  expect(pool.counters).toMatchObject({ hits: 0, misses: 1 });
});

test("waves: one if all fits, otherwise residents first and as few as possible", () => {
  const pool = poolOf(3);
  step(pool, 0, [6, 7], 0);
  expect(pool.waves(0, [1, 6, 7])).toEqual([[1, 6, 7]]);
  expect(pool.waves(0, [1, 2, 3, 6, 7])).toEqual([
    [6, 7, 1],
    [2, 3],
  ]);
});

test("a guess takes a free slot, and a used one only from what is worth less", () => {
  const pool = poolOf(2);
  step(pool, 0, [0, 1], 0);
  expect(pool.prefetch([guess(2, 0.4)], 0, FLOOR)).toEqual([]);
  // Least recently used values an expert of the last token at 1/2.
  expect(pool.prefetch([guess(2, 0.5, 1)], 1, FLOOR)).toEqual([]);
  pool.release();
  expect(expertsOf(pool.prefetch([guess(2, 0.6, 1)], 1, FLOOR))).toEqual([2]);
  expect(pool.counters).toMatchObject({ earlyLoads: 1, earlyUsed: 0, bytesWasted: 0, bytesStalled: 200 });
});

test("a guess evicts neither what a step reads nor what is guessed as well", () => {
  const pool = poolOf(2);
  step(pool, 0, [0, 1], 0);
  expect(pool.prefetch([guess(2, 0.99, 9)], 9, FLOOR)).toEqual([]);
  pool.release();
  expect(pool.prefetch([guess(2, 0.99, 9), guess(0, 0.6, 9), guess(1, 0.6, 9)], 9, FLOOR)).toEqual([]);
  expect(pool.prefetch([guess(2, 0.99, 9), guess(0, 0.6, 9)], 9, FLOOR)).toMatchObject([
    { expert: 2, evicted: 1 },
  ]);
});

test("a guess for a later token loads nothing yet", () => {
  expect(poolOf(2).prefetch([guess(2, 1, 5)], 4, FLOOR)).toEqual([]);
});

test("counts early loads that were used and those that were wasted", () => {
  const pool = poolOf(2);
  pool.prefetch([guess(2, 0.9), guess(3, 0.9)], 0, FLOOR);
  step(pool, 0, [2, 4], 0);
  expect(pool.counters).toEqual({
    hits: 1,
    misses: 1,
    demandLoads: 1,
    earlyLoads: 2,
    earlyUsed: 1,
    bytesLoaded: 3 * PAGE_BYTES,
    bytesStalled: PAGE_BYTES,
    bytesWasted: PAGE_BYTES,
  });
});

test("wrong guesses raise the bar for further ones", () => {
  const pool = poolOf(1, 64);
  const before = pool.save().floor;
  for (let token = 0; token < 20; token++) {
    pool.prefetch([guess(2 * token + 1, 0.94, token)], token);
    step(pool, 0, [0], token);
    pool.release();
  }
  expect(pool.save().floor).toBeGreaterThan(before);
});

test("a page that did not arrive is absent", () => {
  const pool = poolOf(2);
  const loads = step(pool, 0, [0, 1], 0);
  pool.drop(loads.slice(1));
  expect(pool.absent(0, [0, 1])).toEqual([1]);
  expect(step(pool, 0, [1], 1)).toEqual([{ site: 0, expert: 1, slot: 1, evicted: ABSENT }]);
});

test("keeps how often experts were needed, and starts from that", () => {
  const first = poolOf(2);
  for (const token of [0, 1, 2]) step(first, 0, [7], token);
  const saved = JSON.parse(JSON.stringify(first.save()));
  expect(saved.uses).toEqual([[0, 0, 0, 0, 0, 0, 0, 3]]);
  const site: PoolSite = { experts: 8, topK: 2, slots: 2, pageBytes: PAGE_BYTES };
  const second = new ExpertPool([site], POLICIES.lfu, saved);
  step(second, 0, [7, 1], 0);
  expect(step(second, 0, [2], 1)).toMatchObject([{ expert: 2, evicted: 1 }]);
  const other = new ExpertPool([{ ...site, experts: 9 }], POLICIES.lfu, saved);
  expect(other.save().uses).toEqual([new Array(9).fill(0)]);
});

/** Two sites of other sizes; each action is a token's step at one of them, guesses, or the end of a token. */
const EXPERTS = [6, 9];
const action = fc.oneof(
  fc.record({
    kind: fc.constant("step" as const),
    site: fc.nat(1),
    needed: fc.array(fc.nat(5), { minLength: 1, maxLength: 6 }),
  }),
  fc.record({
    kind: fc.constant("guess" as const),
    guesses: fc.array(
      fc.record({
        site: fc.nat(1),
        expert: fc.nat(5),
        ahead: fc.nat(2),
        score: fc.double({ min: 0, max: 1, noNaN: true }),
      }),
      { maxLength: 8 },
    ),
  }),
  fc.record({ kind: fc.constant("end" as const) }),
);

test.each(Object.keys(POLICIES) as PolicyName[])(
  "%s: no expert twice, no more than the slots, nothing that is read evicted",
  (policy) => {
    const slots = fc.tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 9 }));
    fc.assert(
      fc.property(slots, fc.array(action, { maxLength: 60 }), (counts, actions) => {
        const sites = EXPERTS.map((experts, s) => ({
          experts,
          topK: 2,
          slots: counts[s] ?? 1,
          pageBytes: 1,
        }));
        const pool = new ExpertPool(sites, POLICIES[policy]);
        const mirror = sites.map((site) => new Array<number>(site.slots).fill(ABSENT));
        let pinned: [number, number][] = [];
        let token = 0;
        const apply = (loads: readonly Load[]): void => {
          for (const { site, expert, slot, evicted } of loads) {
            expect(pinned).not.toContainEqual([site, evicted]);
            expect(mirror[site]).not.toContain(expert);
            expect(mirror[site]?.[slot]).toBe(evicted);
            (mirror[site] as number[])[slot] = expert;
          }
        };
        for (const next of actions) {
          if (next.kind === "end") {
            token++;
            pinned = [];
            pool.release();
          } else if (next.kind === "guess") {
            apply(
              pool.prefetch(
                next.guesses.map((g) => ({ ...g, token: token + g.ahead })),
                token,
              ),
            );
          } else {
            pool.use(next.site, next.needed, token);
            for (const wave of pool.waves(next.site, next.needed)) {
              expect(wave.length).toBeLessThanOrEqual(counts[next.site] ?? 0);
              const others = pinned.filter(([site]) => site !== next.site);
              pinned = [...others, ...wave.map((expert): [number, number] => [next.site, expert])];
              apply(pool.plan(next.site, wave, token));
              expect(pool.absent(next.site, wave)).toEqual([]);
            }
          }
          mirror.forEach((holders, s) => {
            const table = EXPERTS.slice(s, s + 1).flatMap((experts) =>
              Array.from({ length: experts }, (_, e) => holders.indexOf(e)),
            );
            expect([...pool.table(s)]).toEqual(table);
          });
        }
      }),
      { numRuns: 60 },
    );
  },
);

test("experts without a page take no slot, are no hit and no miss, and guesses of them bring nothing", () => {
  const site = { experts: 6, topK: 3, slots: 2, pageBytes: PAGE_BYTES, pageless: [0, 4] };
  const pool = new ExpertPool([site], POLICIES.lru);
  expect(expertsOf(step(pool, 0, [4, 2, 0], 0))).toEqual([2]);
  expect(pool.waves(0, [0, 4])).toEqual([]);
  expect(expertsOf(pool.prefetch([guess(0, 1, 1), guess(5, 1, 1), guess(4, 1, 1)], 1))).toEqual([5]);
  expect(step(pool, 0, [0, 4, 5, 2], 1)).toEqual([]);
  expect(pool.counters).toMatchObject({ hits: 2, misses: 1, bytesLoaded: 2 * PAGE_BYTES });
  expect(pool.save().uses).toEqual([[0, 0, 2, 0, 0, 1]]);
});
