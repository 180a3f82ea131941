import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { farthest } from "../../src/experts/policy/farthest.ts";
import { POLICIES } from "../../src/experts/policy/index.ts";
import { lru } from "../../src/experts/policy/lru.ts";
import type { PolicyFactory } from "../../src/experts/policy/policy.ts";
import { weighted } from "../../src/experts/policy/weighted.ts";
import { ExpertPool } from "../../src/experts/pool.ts";

/** Whether each of these needs was a miss, for a cache that is asked for one expert at a time. */
type Cache = (slots: number, needs: readonly number[]) => boolean[];

const pooled =
  (policy: PolicyFactory): Cache =>
  (slots, needs) => {
    const pool = new ExpertPool([{ experts: 12, topK: 1, slots, pageBytes: 1 }], policy);
    return needs.map((expert, token) => {
      pool.use(0, [expert], token);
      return pool.plan(0, [expert], token).length > 0;
    });
  };

const naiveLru: Cache = (slots, needs) => {
  let order: number[] = [];
  return needs.map((expert) => {
    const misses = !order.includes(expert);
    order = [...order.filter((other) => other !== expert), expert].slice(-slots);
    return misses;
  });
};

const naiveLfu: Cache = (slots, needs) => {
  const counts = new Array<number>(12).fill(0);
  let held: number[] = [];
  return needs.map((expert) => {
    const misses = !held.includes(expert);
    if (misses && held.length === slots) {
      held.sort((a, b) => (counts[a] ?? 0) - (counts[b] ?? 0) || a - b);
      held = held.slice(1);
    }
    if (misses) held.push(expert);
    counts[expert] = (counts[expert] ?? 0) + 1;
    return misses;
  });
};

/** The figure of Megiddo and Modha, line by line; lists have their most recent entry last. */
const naiveArc: Cache = (c, needs) => {
  let [t1, t2, b1, b2]: [number[], number[], number[], number[]] = [[], [], [], []];
  let p = 0;
  const without = (list: number[], x: number): number[] => list.filter((other) => other !== x);
  const replace = (isInB2: boolean): void => {
    if (t1.length > 0 && (t1.length > p || (isInB2 && t1.length === p))) {
      b1 = [...b1, t1[0] as number];
      t1 = t1.slice(1);
    } else {
      b2 = [...b2, t2[0] as number];
      t2 = t2.slice(1);
    }
  };
  return needs.map((x) => {
    if (t1.includes(x) || t2.includes(x)) {
      [t1, t2] = [without(t1, x), [...without(t2, x), x]];
      return false;
    }
    if (b1.includes(x)) {
      p = Math.min(c, p + Math.max(1, b2.length / b1.length));
      replace(false);
      [b1, t2] = [without(b1, x), [...t2, x]];
    } else if (b2.includes(x)) {
      p = Math.max(0, p - Math.max(1, b1.length / b2.length));
      replace(true);
      [b2, t2] = [without(b2, x), [...t2, x]];
    } else {
      const all = t1.length + t2.length + b1.length + b2.length;
      if (t1.length + b1.length === c) {
        if (t1.length < c) {
          b1 = b1.slice(1);
          replace(false);
        } else t1 = t1.slice(1);
      } else if (all >= c) {
        if (all === 2 * c) b2 = b2.slice(1);
        replace(false);
      }
      t1 = [...t1, x];
    }
    return true;
  });
};

test.each([
  ["lru", POLICIES.lru, naiveLru],
  ["lfu", POLICIES.lfu, naiveLfu],
  ["arc", POLICIES.arc, naiveArc],
] as const)("%s misses where the naive one does", (_, policy, naive) => {
  // Some experts are asked for more often than others, or ARC's two lists hardly differ.
  const needs = fc.array(fc.oneof(fc.nat(11), fc.nat(4)), { minLength: 100, maxLength: 300 });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 8 }), needs, (slots, list) => {
      expect(pooled(policy)(slots, list)).toEqual(naive(slots, list));
    }),
    { numRuns: 300 },
  );
});

test("arc: an early load's first use is its first, not its second", () => {
  const policy = POLICIES.arc({ experts: 4, slots: 2, topK: 1 });
  policy.loaded?.(0, true);
  policy.used(0, 0);
  policy.used(1, 1);
  policy.loaded?.(1, false);
  policy.used(1, 2);
  expect(policy.value(0, 3)).toBeLessThan(1);
  expect(policy.value(1, 3)).toBeGreaterThan(1);
});

describe("weighted", () => {
  const site = { experts: 4, slots: 2, topK: 1 };

  test("a use counts half after the half-life", () => {
    const policy = weighted(site, 10);
    policy.used(1, 0);
    expect(policy.value(1, 10)).toBeCloseTo(policy.value(1, 0) / 2, 12);
  });

  test("an expert that every token needs comes to 1, one that half need to a half", () => {
    const policy = weighted(site, 10);
    for (let token = 0; token < 400; token++) {
      policy.used(1, token);
      if (token % 2 === 0) policy.used(2, token);
    }
    expect(policy.value(1, 399)).toBeCloseTo(1, 6);
    expect(policy.value(2, 399)).toBeCloseTo(0.5, 1);
  });

  test("earlier runs decide until there is something newer", () => {
    const policy = weighted({ ...site, uses: [10, 30, 0, 0] }, 10);
    expect(policy.value(1, 0)).toBeGreaterThan(policy.value(0, 0));
    for (let token = 0; token < 40; token++) policy.used(0, token);
    expect(policy.value(1, 40)).toBeLessThan(policy.value(0, 40));
  });
});

describe("farthest", () => {
  const make = () => farthest(lru)({ experts: 5, slots: 3, topK: 1 });
  const guess = (expert: number, token: number, score: number) => ({ site: 0, expert, token, score });

  test("known uses outweigh guesses, sooner ones later ones, guesses recency", () => {
    const policy = make();
    policy.used(4, 9);
    policy.expect?.([guess(0, 12, 1), guess(1, 10, 1), guess(2, 10, 0.9), guess(3, 12, 0.9)]);
    const byValue = [0, 1, 2, 3, 4].sort((a, b) => policy.value(b, 10) - policy.value(a, 10));
    expect(byValue).toEqual([1, 0, 2, 4, 3]);
  });

  test("what was expected of a token is over when the token has used the site", () => {
    const policy = make();
    policy.expect?.([guess(0, 10, 1), guess(1, 11, 1)]);
    policy.used(3, 10);
    expect(policy.value(0, 10)).toBe(0);
    expect(policy.value(1, 10)).toBeGreaterThan(2);
  });

  test("new expectations replace the old ones", () => {
    const policy = make();
    policy.expect?.([guess(0, 10, 1)]);
    policy.expect?.([guess(1, 10, 1)]);
    expect(policy.value(0, 10)).toBe(0);
  });
});
