import { expect, test } from "vitest";
import { CachedTokens } from "../../src/model/cached_tokens.ts";
import { type Conversing, restoreConversation, saveConversation } from "../../src/model/conversations.ts";
import type { StoreService } from "../../src/store/service.ts";

/** A model whose cache keeps nothing but ids. */
function conversing(cached: CachedTokens, requestRows: Uint32Array<ArrayBuffer>): Conversing {
  const runner = {
    cached,
    requestRows,
    bringRequest: (rows: Uint32Array<ArrayBuffer>) => requestRows.set(rows),
  };
  const reader = () => ({ read: () => Promise.reject(new Error("no pieces")), end: () => {} });
  const cache = { layout: async () => "", pieces: () => [], reader, write: async () => {} };
  return { id: "model", sizes: { context: 2 ** 19 }, runner, cache };
}

test("the longest conversations come back: their ids, request and routing", async () => {
  let kept = new ArrayBuffer(0);
  const store = {
    saveConversation: async (_id, name, { tokens }, piece) => {
      kept = await piece(0);
      return { name, tokens, bytes: kept.byteLength, savedAt: 0 };
    },
    restoreConversation: async (_id, _name, _now, piece) => {
      await piece(0, kept);
      return "data";
    },
  } as Partial<StoreService> as StoreService;
  const ids = Array.from({ length: 2 ** 18 }, (_, i) => i % 1000);
  const { signal } = new AbortController();
  const key = "[[1,1,0,1]]";
  const before = new CachedTokens(false);
  before.replace(ids, 0, { routing: key, tokens: ids.length - 3 });
  await saveConversation(store, conversing(before, Uint32Array.of(7, 8)), "a", "data", signal);

  const after = new CachedTokens(false, () => key);
  const rows = new Uint32Array(2);
  expect(await restoreConversation(store, conversing(after, rows), "a", signal)).toBe("data");
  expect([...rows]).toEqual([7, 8]);
  expect(after.ids).toEqual(ids);
  expect(after.reusable([...ids, 1])).toBe(ids.length - 3);
});
