import fc from "fast-check";
import { expect, test } from "vitest";
import { coalesce } from "../../src/source/ranges.ts";

const range = fc.record({ offset: fc.nat(2000), bytes: fc.integer({ min: 1, max: 300 }) });

test("requests cover every range, in file order, within the limits", () => {
  fc.assert(
    fc.property(
      fc.array(range, { maxLength: 40 }),
      fc.nat(100),
      fc.integer({ min: 1, max: 1000 }),
      (list, gap, max) => {
        const requests = coalesce(list, gap, max);
        const served = requests.flatMap(({ members }) => members);
        expect(served.toSorted((a, b) => a - b)).toEqual(list.map((_, i) => i));
        let last = -1;
        for (const { offset, bytes, members } of requests) {
          expect(offset).toBeGreaterThanOrEqual(last);
          last = offset;
          const inside = members.map((member) => list[member]).filter((one) => one !== undefined);
          expect(offset).toBe(Math.min(...inside.map((one) => one.offset)));
          expect(offset + bytes).toBe(Math.max(...inside.map((one) => one.offset + one.bytes)));
          expect(bytes).toBeLessThanOrEqual(Math.max(max, ...inside.map((one) => one.bytes)));
          expect(largestGap(inside)).toBeLessThanOrEqual(gap);
        }
      },
    ),
  );
});

test("neighbours that could share a request do", () => {
  fc.assert(
    fc.property(fc.array(range, { maxLength: 40 }), fc.nat(100), (list, gap) => {
      const requests = coalesce(list, gap, Number.POSITIVE_INFINITY);
      for (const [i, request] of requests.entries()) {
        const next = requests[i + 1];
        if (next) expect(next.offset - (request.offset + request.bytes)).toBeGreaterThan(gap);
      }
    }),
  );
});

test("experts next to each other become one request, until it is full", () => {
  const experts = Array.from({ length: 10 }, (_, i) => ({ offset: 1000 + i * 64, bytes: 64 }));
  expect(coalesce(experts, 0, 640)).toMatchObject([{ offset: 1000, bytes: 640 }]);
  expect(coalesce(experts, 0, 200).map(({ members }) => members.length)).toEqual([3, 3, 3, 1]);
  expect(coalesce([{ offset: 5, bytes: 999 }], 0, 10)).toMatchObject([{ offset: 5, bytes: 999 }]);
});

function largestGap(ranges: readonly { offset: number; bytes: number }[]): number {
  let end: number | undefined;
  let gap = 0;
  for (const { offset, bytes } of ranges.toSorted((a, b) => a.offset - b.offset)) {
    if (end !== undefined) gap = Math.max(gap, offset - end);
    end = Math.max(end ?? 0, offset + bytes);
  }
  return gap;
}
