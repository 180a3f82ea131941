import fc from "fast-check";
import { expect, test } from "vitest";
import { HostCache } from "../../src/experts/host_cache.ts";

const page = (bytes: number) => new ArrayBuffer(bytes);
const present = (cache: HostCache, indexes: readonly number[]) =>
  indexes.filter((index) => cache.get(index) !== undefined);

test("it gives back the very buffer, until room is needed: the least recently used goes", () => {
  const cache = new HostCache(30);
  const pages = [0, 1, 2].map(() => page(10));
  for (const [i, bytes] of pages.entries()) cache.put(i, bytes);
  expect(cache.get(0)).toBe(pages[0]);
  cache.put(3, page(10));
  expect(present(cache, [1, 0, 2, 3])).toEqual([0, 2, 3]);
});

test("touching counts as use, and does nothing for a page that is not here", () => {
  const cache = new HostCache(30);
  for (const i of [0, 1, 2]) cache.put(i, page(10));
  cache.touch(0);
  cache.touch(9);
  cache.put(3, page(15));
  expect(present(cache, [0, 1, 2, 3, 9])).toEqual([0, 3]);
  expect([cache.bytes, cache.peak]).toEqual([25, 30]);
});

test("a page larger than the cache is not kept, costs nobody their place, and leaves no older bytes behind", () => {
  const cache = new HostCache(20);
  cache.put(0, page(10));
  cache.put(1, page(5));
  cache.put(2, page(21));
  expect(present(cache, [0, 1, 2])).toEqual([0, 1]);
  cache.put(1, page(21));
  expect(present(cache, [0, 1])).toEqual([0]);
  expect(new HostCache(0).get(0)).toBeUndefined();
});

test("whatever is put, it holds what it says, at most its capacity, and the last page put that fits", () => {
  const steps = fc.array(fc.record({ index: fc.nat(6), bytes: fc.nat(12), look: fc.boolean() }));
  fc.assert(
    fc.property(fc.nat(30), steps, (capacity, list) => {
      const cache = new HostCache(capacity);
      let peak = 0;
      for (const { index, bytes, look } of list) {
        if (look) cache.touch(index);
        else {
          cache.put(index, page(bytes));
          expect(cache.get(index)?.byteLength).toBe(bytes <= capacity ? bytes : undefined);
        }
        const held = [0, 1, 2, 3, 4, 5, 6].reduce((sum, i) => sum + (cache.get(i)?.byteLength ?? 0), 0);
        expect(cache.bytes).toBe(held);
        expect(held).toBeLessThanOrEqual(capacity);
        peak = Math.max(peak, held);
      }
      expect(cache.peak).toBe(peak);
    }),
  );
});
