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

test.concurrent("installing holds a batch of pages and as many bytes of the file, whatever the model's size", async () => {
  const zeros = (name: string, ...dims: number[]) => {
    const data = new Uint8Array(4 * dims.reduce((product, dim) => product * dim));
    return { name, dims, typeId: 0, data };
  };
  const experts = [512, 512, 24] as const;
  const tensors = [zeros("gate", ...experts), zeros("up", ...experts), zeros("norm", 512)];
  const blob = new Blob([writeGguf({ tensors })]);
  const store = new ModelStore(new MemoryBackend(2 ** 26));
  const { id, file } = await store.open({ kind: "blob", blob, name: "x.gguf" });
  const pages = modelPages(file);
  await store.plan(id, pages);
  const all = pages.map((page) => page.index);
  await store.install(id, all);
  expect(await store.missing(id)).toEqual([]);
  expect((await store.stats()).hostBytesPeak).toBeLessThanOrEqual(2 * 16 * 2 ** 20);
  await store.close(id);
});
