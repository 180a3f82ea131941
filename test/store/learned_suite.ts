import { expect, test } from "vitest";
import { ModelStore } from "../../src/store/model_store.ts";
import type { Fixture } from "./install_suite.ts";
import { modelBytes, modelPages, small } from "./test_model.ts";

/** The part of the suite about what is learned of a model while it runs. */
export function learnedSuite({ network, disk, visit }: Fixture): void {
  const learned = { pool: { uses: [[3, 0, 1.5]], floor: 0.25 }, predictor: { paths: [[[1, 2]]] } };

  test("what was learned is there at the next visit, the last of it, as it was when it was kept", async () => {
    const first = await visit();
    expect(await first.store.recall(first.id)).toBeUndefined();
    await first.store.remember(first.id, "something else");
    const changing = structuredClone(learned);
    const kept = first.store.remember(first.id, changing);
    changing.pool.floor = 7;
    await kept;
    expect(await first.store.recall(first.id)).toEqual(learned);
    await first.store.close(first.id);
    const { store, id, file } = await visit();
    expect(await store.recall(id)).toEqual(learned);
    expect(file).toEqual(first.file);
  });

  test("it is ignored for other pages, and there again for the same", async () => {
    const { store, id, pages } = await visit();
    await store.remember(id, learned);
    await store.plan(id, pages.slice(1));
    expect(await store.recall(id)).toBeUndefined();
    await store.plan(id, pages);
    expect(await store.recall(id)).toEqual(learned);
  });

  test("it goes with the model when the file was replaced", async () => {
    const first = await visit();
    await first.store.remember(first.id, learned);
    await first.store.close(first.id);
    network().file = modelBytes({ ...small, experts: 7 });
    const { store, id, read } = await visit();
    expect(await store.recall(id)).toEqual(learned);
    await expect(read(0)).rejects.toMatchObject({ code: "bad-model-file" });
    expect(await store.recall(id)).toBeUndefined();
  });

  test("before the pages are declared, or for a model that is not open: bad-request", async () => {
    const store = new ModelStore(await disk().open());
    await expect(store.recall(network().url)).rejects.toMatchObject({ code: "bad-request" });
    await expect(store.remember(network().url, learned)).rejects.toMatchObject({ code: "bad-request" });
    const { id, file } = await store.open({ kind: "url", url: network().url });
    expect(await store.recall(id)).toBeUndefined();
    await expect(store.remember(id, learned)).rejects.toMatchObject({ code: "bad-request" });
    await store.plan(id, modelPages(file));
    await store.remember(id, learned);
  });

  test("a full disk is no error and no reason to keep no pages; one that fails is told at close", async () => {
    for (const [name, message] of [
      ["QuotaExceededError", undefined],
      ["UnknownError", /i\/o/],
    ] as const) {
      const backend = await disk().open();
      const fail = async () => {
        throw new DOMException("i/o", name);
      };
      Object.assign(backend, { putLearned: fail, learned: fail });
      const { store, id } = await visit(backend);
      await store.remember(id, learned);
      expect(await store.recall(id)).toBeUndefined();
      expect((await store.stats()).storageFull).toBe(false);
      if (message) await expect(store.close(id)).rejects.toMatchObject({ code: "storage-corrupt", message });
      else await store.close(id);
    }
  });
}
