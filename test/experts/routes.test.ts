import { expect, test } from "vitest";
import { RouteRows } from "../../src/experts/routes.ts";

const NOBODY = 0xffffffff;

test("rows that a token does not use are no routes", () => {
  // Three tokens of up to three experts at one site, of up to one at the next, 30 words further.
  const words = new Uint32Array(60);
  const put = (start: number, experts: readonly number[]) => {
    for (const [i, expert] of experts.entries()) words.set([expert, 9, 7], start + 3 * i);
  };
  put(0, [4, NOBODY, NOBODY, 1, 4, 0, NOBODY, NOBODY, NOBODY]);
  put(30, [2, NOBODY, 5]);
  const rows = new RouteRows(words, 30, [3, 1], 3);
  expect(rows.routes(0)).toEqual([[4], [2]]);
  expect(rows.routes(1)).toEqual([[1, 4, 0], []]);
  expect(rows.routes(2)).toEqual([[], [5]]);
  expect(rows.needed(0)).toEqual([4, 1, 0]);
  expect([rows.count(0), rows.count(1)]).toEqual([4, 2]);
  const hasPage = (expert: number) => expert !== 4;
  expect([rows.needed(0, hasPage), rows.count(0, hasPage)]).toEqual([[1, 0], 2]);
});
