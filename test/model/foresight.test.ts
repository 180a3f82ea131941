import { expect, test } from "vitest";
import { Foresight } from "../../src/model/foresight.ts";
import type { SiteSteps } from "../../src/model/forward.ts";

const foresight = (sites: readonly SiteSteps[], known: readonly (readonly number[] | undefined)[] = []) =>
  new Foresight({ steps: [], sites }, known);
const named = (site: number) => [10 * site, 10 * site + 1];

test("what nobody knows is looked at, site by site", () => {
  const run = foresight([
    { route: 5, combine: 9 },
    { route: 14, combine: 18 },
  ]);
  expect(run.ahead).toEqual([]);
  expect([0, 5, 6, 15].map((first) => run.nextLook(first))).toEqual([5, 5, 14, undefined]);
  run.reach(0);
  expect(run.nextLook(5)).toBe(14);
  expect([0, 1].map((site) => run.isReached(site))).toEqual([true, false]);
});

test("what the request decides is not looked at, and waited for until it is reached", () => {
  const run = foresight(
    [
      { route: 5, combine: 9 },
      { route: 14, combine: 18 },
      { route: 23, combine: 27 },
    ],
    [[3], undefined, []],
  );
  expect(run.ahead).toEqual([
    { site: 0, experts: [3] },
    { site: 2, experts: [] },
  ]);
  expect([0, 15].map((first) => run.nextLook(first))).toEqual([14, undefined]);
  run.reach(0);
  expect(run.ahead).toEqual([{ site: 2, experts: [] }]);
});

test("one route for all layers is known behind the first look", () => {
  const run = foresight([
    { early: 3, route: 9, combine: 12 },
    { early: 4, route: 18, combine: 21 },
    { early: 5, route: 27, combine: 30 },
  ]);
  expect(run.nextLook(0)).toBe(3);
  // The first had all its experts; the program stopped at the second.
  expect(run.learn(named, 4, 40)).toBe(6);
  expect(run.ahead.map(({ site }) => site)).toEqual([0, 1, 2]);
  expect(run.nextLook(6)).toBeUndefined();
});

test("what was not submitted was not resolved", () => {
  const run = foresight([
    { early: 3, route: 9, combine: 12 },
    { early: 4, route: 18, combine: 21 },
  ]);
  expect(run.learn(named, 3, 4)).toBe(4);
  expect(run.ahead).toEqual([{ site: 0, experts: [0, 1] }]);
  expect(run.nextLook(4)).toBe(4);
});

test("the next layer's route is known where the one in hand stops", () => {
  const run = foresight([
    { route: 6, combine: 9 },
    { early: 5, route: 16, combine: 19 },
    { early: 15, route: 26, combine: 29 },
  ]);
  expect(run.nextLook(0)).toBe(5);
  expect(run.learn(named, 6, 40)).toBe(7);
  run.reach(0);
  expect(run.ahead).toEqual([{ site: 1, experts: [10, 11] }]);
  // The route of the one after is looked at before the known one's turn.
  expect(run.nextLook(6)).toBe(15);
  expect(run.learn(named, 15, 16)).toBe(16);
  expect(run.ahead.map(({ site }) => site)).toEqual([1, 2]);
});
