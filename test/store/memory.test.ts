import { expect, test, vi } from "vitest";
import { MemoryBackend } from "../../src/store/memory.ts";
import { ModelStore } from "../../src/store/model_store.ts";
import { FakeNetwork } from "./fake_network.ts";
import { storeSuite } from "./suite.ts";
import { modelBytes, modelPages } from "./test_model.ts";

storeSuite("memory", async () => {
  const backend = new MemoryBackend(2 ** 24);
  return { open: async () => backend, remove: async () => backend.close() };
});

test("without room every page is fetched each time", async () => {
  const network = new FakeNetwork(modelBytes({ experts: 2, rows: 4, cols: 8 }));
  const store = new ModelStore(new MemoryBackend(0));
  const { id, file } = await store.open({ kind: "url", url: network.url });
  await store.plan(id, modelPages(file));
  const [first] = await store.read(id, [0]);
  network.reset();
  expect(await store.read(id, [0])).toEqual([first]);
  expect(network.requests).toBe(1);
  expect((await store.stats()).storageFull).toBe(true);
  vi.unstubAllGlobals();
});
