import { expect, test } from "vitest";
import { describeActivity, HeatTrail, summariseLayers } from "../../demo/activity.ts";
import type { ExpertActivity } from "../../src/index.ts";

function activity(tokens: number, uses: number[], misses = uses.map(() => 0)): ExpertActivity {
  return {
    tokens,
    sites: [
      {
        layer: 3,
        block: "feed-forward",
        uses,
        misses,
        isResident: uses.map((_, i) => i !== 2),
        pageless: [],
      },
    ],
  };
}

test("heat is relative to the busiest, and what was used long ago cools", () => {
  const trail = new HeatTrail();
  expect(trail.push(activity(4, [4, 2, 0]))[0]?.heat).toEqual([1, 0.5, 0]);
  // Sixteen tokens, all to the last expert: the four uses of the first count two now.
  expect(trail.push(activity(20, [4, 2, 16]))[0]?.heat).toEqual([2 / 16, 1 / 16, 1]);
});

test("a miss is marked, and the mark fades", () => {
  const trail = new HeatTrail();
  expect(trail.push(activity(4, [4, 0, 0], [1, 0, 0]))[0]?.isMissing).toEqual([true, false, false]);
  const later = trail.push(activity(204, [204, 0, 0], [1, 0, 0]));
  expect(later[0]?.isMissing).toEqual([false, false, false]);
});

test("counting that begins anew begins with nothing", () => {
  const trail = new HeatTrail();
  trail.push(activity(10, [10, 0, 0]));
  expect(trail.push(activity(2, [0, 2, 0]))[0]?.heat).toEqual([0, 1, 0]);
});

test("nothing used, no heat", () => {
  expect(new HeatTrail().push(activity(0, [0, 0, 0]))[0]?.heat).toEqual([0, 0, 0]);
});

test("a layer in words and numbers", () => {
  expect(summariseLayers(activity(8, [2, 0, 6], [0, 0, 1]))).toEqual([
    {
      name: "3",
      uses: 8,
      misses: 1,
      used: 2,
      resident: 2,
      experts: 3,
      busiest: [
        { expert: 2, share: 0.75 },
        { expert: 0, share: 0.25 },
      ],
    },
  ]);
});

test("the map in words", () => {
  expect(describeActivity({ tokens: 5, sites: [] })).toContain("no experts");
  expect(describeActivity(activity(0, [0, 0, 0]))).toContain("None has been used");
  expect(describeActivity(activity(8, [2, 0, 6]))).toBe(
    "3 experts in 1 layers, 2 of them in GPU memory. 8 tokens used 2 of them; none was missing.",
  );
  expect(describeActivity(activity(8, [2, 0, 6], [0, 0, 2]))).toContain("25 % of the uses had to wait");
});

test("two blocks of a layer are told apart, and are one layer", () => {
  const [site] = activity(2, [1, 1, 0]).sites;
  if (!site) throw new Error("no site");
  const both: ExpertActivity = { tokens: 2, sites: [{ ...site, block: "attention" }, site] };
  expect(summariseLayers(both).map(({ name }) => name)).toEqual(["3, attention", "3"]);
  expect(describeActivity(both)).toContain("6 experts in 1 layers, 4 of them in GPU memory.");
});
