import type { ConversationInfo } from "../api.ts";
import { SluiceError } from "../errors.ts";
import type { KeptConversation, StoreService } from "../store/service.ts";
import type { CacheCopy, Run } from "./cache_copy.ts";
import type { Runner } from "./runner.ts";

/** What of a model conversations are made of. */
export interface Conversing {
  /** Of the model in the store. */
  readonly id: string;
  readonly sizes: { readonly context: number };
  readonly runner: Pick<Runner, "cached" | "requestRows" | "bringRequest">;
  readonly cache: Pick<CacheCopy, "layout" | "pieces" | "reader" | "write">;
}

/**
 * Keeps what the cache holds in the store: in the first piece how many ids left what is set aside, what the request said
 * of routes, the routing they ran under, and the ids; then what blocks keep of them.
 * @throws SluiceError `bad-request` if it holds nothing, what `StoreService.saveConversation` throws, and of the GPU
 */
export async function saveConversation(
  store: StoreService,
  { id, sizes, runner, cache }: Conversing,
  name: string,
  data: unknown,
  signal: AbortSignal,
): Promise<ConversationInfo> {
  const { aside, ran } = runner.cached;
  const ids = [...runner.cached.ids];
  if (ids.length === 0) throw nothingToSave(name);
  const pieces = cache.pieces(ids.length);
  const kept: KeptConversation = {
    ...{ tokens: ids.length, pieces: 1 + pieces.length, data },
    ...{ context: sizes.context, layout: await cache.layout() },
  };
  const reader = cache.reader();
  try {
    return await store.saveConversation(id, name, kept, async (index) => {
      signal.throwIfAborted();
      if (index === 0) {
        const { requestRows } = runner;
        // A long conversation has more ids than a call takes arguments.
        return Uint32Array.from([aside, ...requestRows, ran.tokens, ...wordsOf(ran.routing), ...ids]).buffer;
      }
      return reader.read(pieces[index - 1] as Run<GPUBuffer>[]);
    });
  } finally {
    reader.end();
  }
}

/**
 * Brings a conversation back into the cache, in place of what it holds.
 * @returns the data that was kept with it
 * @throws SluiceError what `StoreService.restoreConversation` throws, and of the GPU
 */
export async function restoreConversation(
  store: StoreService,
  { id, sizes, runner, cache }: Conversing,
  name: string,
  signal: AbortSignal,
): Promise<unknown> {
  const { cached } = runner;
  const { length: rows } = runner.requestRows;
  let ids: readonly number[] = [];
  let request = new Uint32Array(0);
  let aside = 0;
  let ran = { routing: "", tokens: 0 };
  let pieces: Run<GPUBuffer>[][] = [];
  const now = { context: sizes.context, layout: await cache.layout() };
  const data = await store.restoreConversation(id, name, now, async (index, bytes) => {
    signal.throwIfAborted();
    if (index === 0) {
      const words = new Uint32Array(bytes);
      aside = words[0] ?? 0;
      request = words.slice(1, 1 + rows);
      const [tokens = 0, length = 0, ...rest] = words.subarray(1 + rows);
      ran = { routing: String.fromCharCode(...rest.slice(0, length)), tokens };
      ids = rest.slice(length);
      pieces = cache.pieces(ids.length);
      return;
    }
    // Until all of it is there the cache is nobody's.
    cached.replace([]);
    await cache.write(pieces[index - 1] as Run<GPUBuffer>[], bytes);
  });
  signal.throwIfAborted();
  runner.bringRequest(request);
  cached.replace(ids, aside, ran);
  return data;
}

function wordsOf(text: string): number[] {
  return [text.length, ...Array.from(text, (letter) => letter.charCodeAt(0))];
}

function nothingToSave(name: string): SluiceError {
  return new SluiceError("bad-request", `there is nothing in the cache to save as ${name}`, {
    remedy: "Generate something first.",
    details: { name },
  });
}
