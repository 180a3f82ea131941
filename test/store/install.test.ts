import { expect, test } from "vitest";
import { MemoryBackend } from "../../src/store/memory.ts";
import { ModelStore } from "../../src/store/model_store.ts";
import { ranges, startServer, type TestServer } from "../source/server.ts";
import { expectBytes } from "../support/bytes.ts";
import { writeGguf } from "../support/gguf_writer.ts";
import { modelBytes, modelPages, pageBytes } from "./test_model.ts";

/** 40 pages of 160 KiB, which begin in the 2 MB that come with the header. */
const file = modelBytes({ experts: 40, rows: 160, cols: 128 }, 1, 64);

async function visit(server: TestServer, backend = new MemoryBackend(2 ** 24)) {
  const store = new ModelStore(backend);
  const { id, file } = await store.open({ kind: "url", url: server.url });
  const pages = modelPages(file);
  await store.plan(id, pages);
  return { store, id, pages, all: pages.map((page) => page.index) };
}

/** Without the probe for the size. */
const asked = (server: TestServer) =>
  server.asked
    .slice(1)
    .flatMap(({ range }) => range ?? [])
    .toSorted((a, b) => a.start - b.start);

test.concurrent("bytes that came with the header are not fetched again, by reads or by installing", async () => {
  for (const by of ["read", "install"] as const) {
    await using server = await startServer(ranges(file));
    const { store, id, pages, all } = await visit(server);
    if (by === "install") await store.install(id, all);
    const got = await store.read(id, all);
    for (const page of pages) expectBytes(got[page.index], pageBytes(page, file));
    let end = 0;
    for (const range of asked(server)) {
      expect(range.start).toBe(end);
      end = range.end + 1;
    }
    expect(end).toBe(file.byteLength);
    expect((await store.stats()).bytesFetched).toBe(file.byteLength);
    await store.close(id);
  }
});

test.concurrent("they are kept until the pages that lie there were made, and counted", async () => {
  await using server = await startServer(ranges(file));
  const { store, id, pages, all } = await visit(server, new MemoryBackend(0));
  const inChunk = all.filter((index) => pages[index]?.parts.some(({ source }) => source.offset < 2_000_000));
  expect(inChunk.length).toBe(25);
  expect((await store.stats()).hostBytesPeak).toBeGreaterThan(1_990_000);
  for (const index of inChunk) await store.read(id, [index]);
  const before = server.asked.length;
  await store.read(id, [0]);
  expect(server.asked.slice(before).map(({ range }) => range?.start)).toEqual(
    pages[0]?.parts.map(({ source }) => source.offset),
  );
});

test.concurrent("a plan that needs none of them lets them go", async () => {
  await using server = await startServer(ranges(file));
  const { store, id, pages } = await visit(server);
  const last = pages.at(-1);
  await store.plan(id, last ? [last] : []);
  await store.plan(id, pages);
  const before = server.asked.length;
  await store.read(id, [0]);
  expect(server.asked.length).toBe(before + 2);
});

const MIB = 2 ** 20;

/** 24 pages of 2 MiB from two matrices each, on a disk that takes its time. */
async function heavy(budgetBytes: number, writeMs = 2) {
  const zeros = (name: string, ...dims: number[]) => {
    const data = new Uint8Array(4 * dims.reduce((product, dim) => product * dim));
    return { name, dims, typeId: 0, data };
  };
  const experts = [512, 512, 24] as const;
  const tensors = [zeros("gate", ...experts), zeros("up", ...experts), zeros("norm", 512)];
  const blob = new Blob([writeGguf({ tensors })]);
  const backend = new MemoryBackend(2 ** 26);
  const put = backend.putPage.bind(backend);
  backend.putPage = async (...args) => {
    await put(...args);
    await new Promise((resolve) => setTimeout(resolve, writeMs));
  };
  const store = new ModelStore(backend, budgetBytes);
  const { id, file } = await store.open({ kind: "blob", blob, name: "x.gguf" });
  const pages = modelPages(file);
  await store.plan(id, pages);
  return { store, id, all: pages.map((page) => page.index) };
}

test.concurrent.each([
  ["installing", 16 * MIB, 0],
  ["installing and reading", 16 * MIB, 2],
  ["installing page by page and reading, in room for two pages", 1, 2],
] as const)("%s holds what is read and its budget at most, copies included", async (_, budget, inRead) => {
  const { store, id, all } = await heavy(budget);
  const reading = async () => {
    for (let i = all.length; inRead > 0 && i > 0; i -= inRead) {
      await store.read(id, all.slice(Math.max(0, i - inRead), i));
    }
  };
  await Promise.all([store.install(id, all), reading()]);
  await store.install(id, all);
  expect(await store.missing(id)).toEqual([]);
  const { hostBytesPeak } = await store.stats();
  const most = Math.max(budget, 2 * 2 * MIB) + inRead * 2 * MIB;
  expect(hostBytesPeak).toBeLessThanOrEqual(most);
  expect(hostBytesPeak).toBeGreaterThan(most / 2);
  await store.close(id);
});

test.concurrent("a read of many pages waits for a slow disk, and holds two copies at most", async () => {
  const { store, id, all } = await heavy(1, 5);
  await store.read(id, all);
  const { hostBytesPeak } = await store.stats();
  expect(hostBytesPeak).toBeLessThanOrEqual((24 + 2) * 2 * MIB + 2048);
  await store.close(id);
});

test.concurrent("what was aborted holds nothing: there is room for everything after that", async () => {
  const { store, id, all } = await heavy(1);
  for (let round = 0; round < 5; round++) {
    const stopped = Promise.allSettled([store.install(id, all), store.read(id, all), store.read(id, [3, 2])]);
    await new Promise((resolve) => setTimeout(resolve, 4 * round));
    store.abort(id);
    for (const result of await stopped) {
      if (result.status === "rejected") expect(result.reason).toMatchObject({ code: "aborted" });
    }
  }
  await store.install(id, all);
  expect(await store.missing(id)).toEqual([]);
  await store.read(id, all);
  await store.close(id);
});
