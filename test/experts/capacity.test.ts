import fc from "fast-check";
import { expect, test } from "vitest";
import type { CapacityPlan } from "../../src/api.ts";
import { SluiceError } from "../../src/errors.ts";
import { poolBytes, shareSlots } from "../../src/experts/capacity.ts";

const sites = (count: number, experts = 8, pageBytes = 100) =>
  Array.from({ length: count }, () => ({ experts, pageBytes }));

test("even: the same share, and what is left over to the first sites", () => {
  expect(shareSlots(sites(3), 1200, "even")).toEqual([4, 4, 4]);
  expect(shareSlots(sites(3), 1499, "even")).toEqual([5, 5, 4]);
  const unequal = [...sites(1, 16), ...sites(1, 4)];
  expect(shareSlots(unequal, 1000, "even")).toEqual([8, 2]);
});

test("shallow-first: one each, then site 0 in full, then site 1", () => {
  expect(shareSlots(sites(4), 400, "shallow-first")).toEqual([1, 1, 1, 1]);
  expect(shareSlots(sites(4), 1300, "shallow-first")).toEqual([8, 3, 1, 1]);
});

test("measured: slots go where the next expert is used most", () => {
  const skewed = { ...sites(1)[0], experts: 8, pageBytes: 100, uses: [90, 10, 0, 0, 0, 0, 0, 0] };
  const flat = { ...skewed, uses: [10, 10, 10, 10, 10, 10, 10, 10] };
  expect(shareSlots([skewed, flat], 800, "measured")).toEqual([1, 7]);
});

test("refuses with the numbers when one expert of each site does not fit", () => {
  const share = () => shareSlots(sites(3), 299, "even");
  expect(share).toThrow(SluiceError);
  expect(share).toThrow(
    expect.objectContaining({ code: "out-of-memory", details: { needed: 300, available: 299, sites: 3 } }),
  );
});

test.each<CapacityPlan>(["even", "shallow-first", "measured"])(
  "%s: at least one slot each, never more than the experts, nor than the bytes, nor room for another page",
  (plan) => {
    const site = fc
      .record({ experts: fc.integer({ min: 1, max: 20 }), pageBytes: fc.integer({ min: 1, max: 50 }) })
      .chain(({ experts, pageBytes }) =>
        fc
          .array(fc.nat(9), { minLength: experts, maxLength: experts })
          .map((uses) => ({ experts, pageBytes, uses })),
      );
    fc.assert(
      fc.property(fc.array(site, { minLength: 1, maxLength: 8 }), fc.nat(5000), (list, more) => {
        const budget = list.reduce((sum, { pageBytes }) => sum + pageBytes, more);
        const slots = shareSlots(list, budget, plan);
        const left = budget - poolBytes(list, slots);
        expect(left).toBeGreaterThanOrEqual(0);
        list.forEach(({ experts, pageBytes }, s) => {
          expect(slots[s]).toBeGreaterThanOrEqual(1);
          expect(slots[s]).toBeLessThanOrEqual(experts);
          expect(slots[s] === experts || pageBytes > left).toBe(true);
        });
      }),
    );
  },
);
