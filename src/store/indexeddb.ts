import { type DBSchema, type IDBPDatabase, openDB } from "idb";
import { type Backend, isQuotaError, type ModelRecord, type PageSum, type StoredPage } from "./backend.ts";

/** Raise it when a record changes shape: the database is then emptied. */
const CATALOGUE_VERSION = 1;

type PageKey = [modelId: string, index: number];

interface Schema extends DBSchema {
  models: { key: string; value: ModelRecord };
  pages: { key: PageKey; value: ArrayBuffer };
  sums: { key: PageKey; value: PageSum };
}

/**
 * Keeps everything in IndexedDB. A page and its sum are written in one transaction and read in one, so other
 * tabs see both or neither; two tabs that install the same model write the same bytes under the same keys, or
 * bytes that say in their sum which page list they belong to. What is not excluded is that both fetch a page.
 */
export class IndexedDbBackend implements Backend {
  /** undefined once the browser or a newer version of the page took the database away. */
  #db: IDBPDatabase<Schema> | undefined;

  /**
   * @throws DOMException where storage is off (private windows) or another tab holds an older database open.
   */
  static async open(name = "sluice"): Promise<IndexedDbBackend> {
    const backend = new IndexedDbBackend();
    backend.#db = await openDatabase(name, () => backend.close());
    return backend;
  }

  async model(id: string): Promise<ModelRecord | undefined> {
    return this.#db?.get("models", id);
  }

  async putModel(record: ModelRecord): Promise<void> {
    await this.#db?.put("models", record);
  }

  async dropModel(id: string): Promise<void> {
    await this.#db?.delete("models", id);
    await this.dropPages(id);
  }

  async page(modelId: string, index: number): Promise<StoredPage> {
    if (!this.#db) return { bytes: undefined, sum: undefined };
    const key: PageKey = [modelId, index];
    const transaction = this.#db.transaction(["pages", "sums"]);
    const [bytes, sum] = await Promise.all([
      transaction.objectStore("pages").get(key),
      transaction.objectStore("sums").get(key),
    ]);
    return { bytes, sum };
  }

  async putPage(modelId: string, index: number, bytes: ArrayBuffer, sum: PageSum): Promise<void> {
    if (!this.#db) return;
    const key: PageKey = [modelId, index];
    const transaction = this.#db.transaction(["pages", "sums"], "readwrite");
    // put() copies its value at the call; nothing may be awaited before both are called.
    await finish([
      transaction.objectStore("pages").put(bytes, key),
      transaction.objectStore("sums").put(sum, key),
      transaction.done,
    ]);
  }

  async dropPage(modelId: string, index: number): Promise<void> {
    await this.#drop([modelId, index]);
  }

  async dropPages(modelId: string): Promise<void> {
    await this.#drop(IDBKeyRange.bound([modelId, 0], [modelId, Number.POSITIVE_INFINITY]));
  }

  close(): void {
    this.#db?.close();
    this.#db = undefined;
  }

  async #drop(keys: PageKey | IDBKeyRange): Promise<void> {
    if (!this.#db) return;
    const transaction = this.#db.transaction(["pages", "sums"], "readwrite");
    await finish([
      transaction.objectStore("pages").delete(keys),
      transaction.objectStore("sums").delete(keys),
      transaction.done,
    ]);
  }
}

function openDatabase(name: string, lost: () => void): Promise<IDBPDatabase<Schema>> {
  return new Promise((resolve, reject) => {
    openDB<Schema>(name, CATALOGUE_VERSION, {
      upgrade(db) {
        for (const store of Array.from(db.objectStoreNames)) db.deleteObjectStore(store);
        db.createObjectStore("models", { keyPath: "id" });
        db.createObjectStore("pages");
        db.createObjectStore("sums");
      },
      // An older page in another tab that does not let go would make this wait for ever.
      blocked: () => reject(new DOMException("another tab holds an older database", "InvalidStateError")),
      blocking: lost,
      terminated: lost,
    }).then(resolve, reject);
  });
}

/**
 * Waits for a transaction and its requests. When it fails all of them reject, most with a bare AbortError: a
 * full disk is told from the rest by whichever names it.
 */
async function finish(parts: readonly Promise<unknown>[]): Promise<void> {
  const results = await Promise.allSettled(parts);
  const reasons = results.flatMap((result) => (result.status === "rejected" ? [result.reason] : []));
  if (reasons.length > 0) throw reasons.find(isQuotaError) ?? reasons[0];
}
