import { describe, expect, test } from "vitest";
import type { Guess } from "../../src/experts/policy/policy.ts";
import { combined } from "../../src/experts/predictor/combined.ts";
import { PREDICTORS, type PredictorName } from "../../src/experts/predictor/index.ts";
import { known } from "../../src/experts/predictor/known.ts";
import { nextGate } from "../../src/experts/predictor/next_gate.ts";
import { path } from "../../src/experts/predictor/path.ts";
import type { Predictor, Ranking, SiteRoute } from "../../src/experts/predictor/predictor.ts";

const model = { sites: Array.from({ length: 3 }, () => ({ experts: 8, topK: 2 })) };
const routes: readonly SiteRoute[] = [
  [0, 1],
  [2, 3],
  [4, 5],
];
const ranking = (from: number, site: number, experts: readonly number[]): Ranking => {
  return { from, site, experts, weights: experts.map((_, i) => 0.5 / (i + 1)) };
};
const scoreOf = (guesses: readonly Guess[], site: number, expert: number): number | undefined =>
  guesses.find((guess) => guess.site === site && guess.expert === expert)?.score;

/** Tokens 0 to count - 1 of one id, all with the same routes, each of which stops at site 0. */
function watch(predictor: Predictor, count: number, ahead: readonly Ranking[] = []): void {
  for (let token = 0; token < count; token++) {
    predictor.start({ token, id: 9, ahead: [] });
    predictor.fault({ token, id: 9, site: 0, routes: routes.slice(0, 1), ahead });
    predictor.learn({ token, id: 9, routes });
  }
}

test.each(Object.keys(PREDICTORS) as PredictorName[])("%s guesses only what is still to come", (name) => {
  const predictor = PREDICTORS[name]({ model, known: { window: 0, routes: () => routes } });
  watch(predictor, 5, [ranking(0, 1, [2, 3, 6])]);
  predictor.start({ token: 5, id: 9, ahead: [] });
  const at = { token: 5, id: 9, site: 1, routes: routes.slice(0, 2), ahead: [ranking(1, 2, [4])] };
  for (const { site, token, score } of predictor.fault(at)) {
    expect({ site, token }).toEqual({ site: 2, token: 5 });
    expect(score).toBeGreaterThan(0);
    expect(score).toBeLessThanOrEqual(1);
  }
});

describe("next-gate", () => {
  test("takes top-k and half as many again", () => {
    const guesses = nextGate(model).start({ token: 0, id: 9, ahead: [ranking(-1, 0, [5, 4, 3, 2])] });
    expect(guesses.map(({ expert }) => expert)).toEqual([5, 4, 3]);
  });

  test("learns which ranks come true", () => {
    const predictor = nextGate(model);
    const ahead = [ranking(0, 1, [2, 7, 3])];
    watch(predictor, 30, ahead);
    const guesses = predictor.fault({ token: 30, id: 9, site: 0, routes: routes.slice(0, 1), ahead });
    expect(scoreOf(guesses, 1, 2)).toBeGreaterThan(0.9);
    expect(scoreOf(guesses, 1, 7)).toBeLessThan(0.1);
    expect(scoreOf(guesses, 1, 3)).toBeGreaterThan(0.9);
  });
});

describe("path", () => {
  const guess = (predictor: Predictor, id: number): Guess[] => predictor.start({ token: 99, id, ahead: [] });

  test("an id it has seen tells the whole path, another one nothing", () => {
    const predictor = path(model);
    watch(predictor, 30);
    const guesses = guess(predictor, 9);
    expect(guesses.map(({ site, expert }) => [site, expert])).toEqual(
      routes.flatMap((route, site) => route.map((expert) => [site, expert])),
    );
    expect(Math.min(...guesses.map(({ score }) => score))).toBeGreaterThan(0.8);
    expect(guess(predictor, 8)).toEqual([]);
  });

  test("a path that is no longer taken fades", () => {
    const predictor = path(model);
    watch(predictor, 12);
    for (let token = 12; token < 60; token++) {
      predictor.start({ token, id: 9, ahead: [] });
      predictor.learn({ token, id: 9, routes: [[7], [7], [7]] });
    }
    expect(scoreOf(guess(predictor, 9), 0, 0) ?? 0).toBeLessThan(0.2);
    expect(scoreOf(guess(predictor, 9), 0, 7)).toBeGreaterThan(0.6);
  });

  test("forgets the id it has not seen for longest when there are too many", () => {
    const wide = { sites: Array.from({ length: 50 }, () => ({ experts: 512, topK: 500 })) };
    const predictor = path(wide);
    const far = wide.sites.map(() => [1]);
    for (const id of [1, 2, 3, 1, 4, 5]) {
      predictor.start({ token: id, id, ahead: [] });
      predictor.learn({ token: id, id, routes: far });
    }
    expect([1, 2, 3, 4, 5].filter((id) => guess(predictor, id).length > 0)).toEqual([1, 4, 5]);
  });

  test("has nothing to say where there are no ids", () => {
    const predictor = path(model);
    predictor.learn({ token: 0, id: -1, routes });
    expect(guess(predictor, -1)).toEqual([]);
  });
});

test.each(["next-gate", "path", "next-gate+path"] as const)("%s goes on from what it saved", (name) => {
  const ahead = [ranking(0, 1, [2, 7, 3])];
  const first = PREDICTORS[name]({ model });
  watch(first, 30, ahead);
  const saved = JSON.parse(JSON.stringify(first.save?.()));
  const second = PREDICTORS[name]({ model, saved });
  for (const predictor of [first, second]) predictor.learn({ token: 30, id: 3, routes });
  const all = (predictor: Predictor): Guess[] => [
    ...predictor.start({ token: 31, id: 9, ahead: [] }),
    ...predictor.fault({ token: 31, id: 9, site: 0, routes: routes.slice(0, 1), ahead }),
  ];
  const guesses = all(second);
  expect(guesses.length).toBeGreaterThan(0);
  expect(guesses).toEqual(all(first));
});

test("known: everything up to its window, and only what is still to come of the token in hand", () => {
  const predictor = known({ window: 1, routes: (token) => (token < 2 ? routes : undefined) });
  expect(predictor.start({ token: 0, id: 1, ahead: [] })).toHaveLength(12);
  expect(predictor.start({ token: 1, id: 1, ahead: [] })).toHaveLength(6);
  const rest = predictor.fault({ token: 1, id: 1, site: 1, routes: [], ahead: [] });
  expect(rest).toEqual([4, 5].map((expert) => ({ site: 2, expert, token: 1, score: 1 })));
});

test("combined takes the surer of two guesses", () => {
  const says = (score: number, expert: number): Predictor => ({
    start: () => [
      { site: 0, expert: 1, token: 0, score },
      { site: 0, expert, token: 0, score: 0.5 },
    ],
    fault: () => [],
    learn: () => {},
  });
  const guesses = combined(says(0.3, 2), says(0.6, 3)).start({ token: 0, id: 0, ahead: [] });
  expect(guesses.map(({ expert, score }) => [expert, score])).toEqual([
    [1, 0.6],
    [2, 0.5],
    [3, 0.5],
  ]);
});
