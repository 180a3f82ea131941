import fc from "fast-check";
import { expect, test } from "vitest";
import { type Extent, Extents } from "../../src/store/extents.ts";

test("whatever is taken and released, extents never overlap, and the end is the end of the last", () => {
  const steps = fc.array(fc.record({ page: fc.nat(9), bytes: fc.integer({ min: 1, max: 9 }) }), {
    maxLength: 60,
  });
  fc.assert(
    fc.property(steps, (list) => {
      const extents = new Extents();
      const held = new Map<string, Extent>();
      for (const { page, bytes } of list) {
        const owner = String(page);
        const before = held.get(owner);
        if (before) {
          extents.release(owner, before);
          held.delete(owner);
        } else held.set(owner, extents.take(owner, bytes));
        const inOrder = [...held.values()].toSorted((a, b) => a.offset - b.offset);
        let end = 0;
        for (const extent of inOrder) {
          expect(extent.offset).toBeGreaterThanOrEqual(end);
          end = extent.offset + extent.bytes;
        }
        expect(extents.end).toBe(end);
      }
    }),
  );
});

test("the first gap that is large enough is used", () => {
  const extents = new Extents();
  const [a, b, c] = [8, 4, 2].map((bytes) => extents.take(`${bytes}`, bytes));
  extents.release("8", a as Extent);
  extents.release("2", b as Extent);
  expect(extents.end).toBe(14);
  extents.release("4", b as Extent);
  expect(extents.take("x", 12)).toEqual({ offset: 0, bytes: 12 });
  extents.release("2", c as Extent);
  expect(extents.end).toBe(12);
});

test("extents that overlap are named, all of them, and not entered", () => {
  const extents = new Extents();
  const at = (owner: string, offset: number, bytes: number) => ({ owner, offset, bytes });
  const bad = [at("b", 10, 20), at("c", 15, 2), at("d", 25, 10)];
  expect(extents.enter([bad[2], at("e", 35, 5), at("a", 0, 10), bad[0], bad[1]] as never)).toEqual(
    expect.arrayContaining(bad),
  );
  expect(extents.end).toBe(40);
  expect(extents.take("f", 25)).toEqual({ offset: 10, bytes: 25 });
});
