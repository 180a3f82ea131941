import { expect, test } from "vitest";
import { MemoryBackend } from "../../src/store/memory.ts";
import { ModelStore } from "../../src/store/model_store.ts";
import { type Unsteadiness, unsteady } from "../support/unsteady_store.ts";
import { modelBytes, modelPages } from "./test_model.ts";

/** 13 pages, twelve of 160 KiB. */
async function visit(unsteadiness: Unsteadiness) {
  const store = unsteady(new ModelStore(new MemoryBackend(2 ** 24)), unsteadiness);
  const blob = new Blob([modelBytes({ experts: 12, rows: 160, cols: 128 })]);
  const { id, file } = await store.open({ kind: "blob", blob, name: "x.gguf" });
  const pages = modelPages(file);
  await store.plan(id, pages);
  const all = pages.map((page) => page.index);
  await store.install(id, all);
  await store.read(id, []);
  return { store, id, all, pages };
}

test("answers of different calls come out of order, a call's pages in order", async () => {
  const { store, id, all, pages } = await visit({ seed: 1, delayMs: [0, 40] });
  const came: number[] = [];
  await Promise.all(all.map((index) => store.read(id, [index]).then(() => came.push(index))));
  expect(came).not.toEqual(all);
  expect(came.toSorted((a, b) => a - b)).toEqual(all);
  const got = await store.read(id, [12, 0]);
  expect(got.map(({ byteLength }) => byteLength)).toEqual([12, 0].map((index) => pages[index]?.bytes));
});

test("one disk serves all calls at its rate, also where a page takes less than a timer", async () => {
  const { store, id, all, pages } = await visit({ seed: 1, bytesPerSecond: 2 ** 28 });
  const msOf = (indexes: number[]) =>
    (indexes.reduce((sum, index) => sum + (pages[index]?.bytes ?? 0), 0) / 2 ** 28) * 1000;
  await store.read(id, all);
  const start = performance.now();
  const ends = await Promise.all(all.map((i) => store.read(id, [i]).then(() => performance.now() - start)));
  for (const [i, end] of ends.entries()) expect(end).toBeGreaterThan(msOf(all.slice(0, i + 1)) - 0.5);
  const again = performance.now();
  for (let i = 0; i < 40; i++) await store.read(id, [i % 12]);
  expect(performance.now() - again).toBeGreaterThan(40 * msOf([0]) - 0.5);
});

test("pages fail by chance with network, the same ones for the same seed, and those asked for only", async () => {
  const failed = async (seed: number) => {
    const { store, id, all } = await visit({ seed, failRate: 0.4, pages: (index) => index > 3 });
    const results: unknown[] = [];
    for (const index of all) results.push(await store.read(id, [index]).catch((error) => error.code));
    return all.filter((index) => results[index] === "network");
  };
  const first = await failed(5);
  expect(first.length).toBeGreaterThan(0);
  expect(first.length).toBeLessThan(9);
  expect(Math.min(...first)).toBeGreaterThan(3);
  expect(await failed(5)).toEqual(first);
  expect(await failed(6)).not.toEqual(first);
});

test("abort ends what waits", async () => {
  const { store, id } = await visit({ seed: 1, delayMs: [60_000, 60_000] });
  const reading = store.read(id, [1]);
  reading.catch(() => undefined);
  store.abort(id);
  await expect(reading).rejects.toMatchObject({ code: "aborted" });
});
