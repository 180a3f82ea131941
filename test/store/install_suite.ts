import { expect, test, vi } from "vitest";
import type { PagePlan } from "../../src/quant/page.ts";
import type { Backend } from "../../src/store/backend.ts";
import type { FakeNetwork } from "./fake_network.ts";
import type { Disk, Visit } from "./suite.ts";
import { large, modelBytes } from "./test_model.ts";

/** What the tests of a suite share; network and disk are new ones for each test. */
export interface Fixture {
  network(): FakeNetwork;
  disk(): Disk;
  visit(backend?: Backend): Promise<Visit>;
  expectPages(pages: readonly PagePlan[], indexes: readonly number[], got: readonly ArrayBuffer[]): void;
}

/** The part of the suite about installing in the background. */
export function installSuite({ network, disk, visit, expectPages }: Fixture): void {
  test("installing puts on disk what is missing, and nothing twice", async () => {
    const first = await visit();
    await first.read(1, 3);
    expect(await first.store.missing(first.id)).toEqual(expect.arrayContaining([0, 2, 4, 5, 6]));
    await first.store.install(first.id, [5, 3, 0]);
    expect(await first.store.missing(first.id)).toEqual([2, 4, 6]);
    await first.store.close(first.id);
    network().reset();
    const { store, id, pages, all, read } = await visit();
    expect(await store.missing(id)).toEqual([2, 4, 6]);
    await store.install(id, all);
    expect(await store.missing(id)).toEqual([]);
    const fetched = network().requests;
    await store.install(id, all);
    expect(network().requests).toBe(fetched);
    network().offline = true;
    expectPages(pages, all, await read(...all));
    await expect(store.install(id, [99])).rejects.toMatchObject({ code: "bad-request" });
  });

  test("two installs of the same pages fetch them once", async () => {
    network().file = modelBytes(large);
    const { store, id, all } = await visit();
    network().reset();
    await Promise.all([store.install(id, all), store.install(id, all.toReversed())]);
    expect(await store.missing(id)).toEqual([]);
    expect(network().bytes).toBeLessThanOrEqual(network().file.byteLength);
  });

  test("a read goes before what is still to be installed, and is not fetched again", async () => {
    network().file = modelBytes(large);
    const { store, id, pages, read } = await visit();
    network().reset();
    const release = network().stall();
    const apart = [0, 2, 4, 6, 8, 10];
    const installing = store.install(id, apart);
    await vi.waitUntil(() => network().requests === 2);
    const reading = read(10, 7);
    await vi.waitUntil(() => network().requests === 6);
    const order = network().asked.map(({ start }) => start);
    release();
    expectPages(pages, [10, 7], await reading);
    await installing;
    const firstsOf = (indexes: number[]) =>
      indexes.flatMap((i) => pages[i]?.parts.map(({ source }) => source.offset) ?? []);
    expect(new Set(order.slice(2))).toEqual(new Set(firstsOf([10, 7])));
    expect(network().requests).toBe(2 * 7);
    expect(await store.missing(id)).toEqual([1, 3, 5, 9, 11, 12]);
  });

  test("an install that was aborted goes on where it was", async () => {
    network().file = modelBytes(large);
    const { store, id, all } = await visit();
    await store.install(id, [0, 1, 2]);
    network().reset();
    const release = network().stall();
    const stopped = store.install(id, all);
    stopped.catch(() => undefined);
    await vi.waitUntil(() => network().requests > 0);
    store.abort(id);
    await expect(stopped).rejects.toMatchObject({ code: "aborted" });
    release();
    network().reset();
    await store.install(id, all);
    expect(await store.missing(id)).toEqual([]);
    expect(network().bytes).toBeLessThan(network().file.byteLength - 2 * 2 * 80 * 1024);
  });

  test("an install without network, or without room, says so", async () => {
    const { store, id, all } = await visit();
    network().offline = true;
    await expect(store.install(id, all)).rejects.toMatchObject({ code: "network" });
    await store.close(id);
    network().offline = false;
    const backend = await disk().open();
    backend.putPage = async () => {
      throw new DOMException("full", "QuotaExceededError");
    };
    const full = await visit(backend);
    await expect(full.store.install(id, all)).rejects.toMatchObject({ code: "storage-full" });
    expectPages(full.pages, [1], await full.read(1));
    backend.putPage = async () => undefined;
    await full.store.close(id);
    const forgetful = await visit(backend);
    await expect(forgetful.store.install(id, all)).rejects.toMatchObject({ code: "storage-full" });
  });
}
