import { type Catalogue, type Place, pagesOf } from "./catalogue.ts";

const RECORDS = 4;
const RECORD_BYTES = 2 ** 20;
/** No model has this id. */
const MODEL = "";
const FILE = "sluice-measure";

/**
 * The place that reads faster in this browser, measured with 4 MiB once per origin and remembered. Reads decide:
 * a page is written once, behind the answer, and read whenever a router asks for it.
 * @throws DOMException of the database.
 */
export async function choosePlace(catalogue: Catalogue): Promise<Place> {
  const known = await catalogue.get("choices", "place");
  if (known) return known.place;
  // Not remembered: a browser that offers no OPFS in this window may do so in the next, and a second tab that
  // measures at the same time does not get the file.
  const opfsMs = await measureOpfs().catch(() => undefined);
  if (opfsMs === undefined) return "indexeddb";
  const indexeddbMs = await measureIndexedDb(catalogue);
  const place = opfsMs < indexeddbMs ? "opfs" : "indexeddb";
  await catalogue.put("choices", { place, indexeddbMs, opfsMs }, "place");
  return place;
}

async function measureOpfs(): Promise<number> {
  const root = await navigator.storage.getDirectory();
  const file = await root.getFileHandle(FILE, { create: true });
  try {
    const handle = await file.createSyncAccessHandle();
    try {
      const record = noise();
      for (let i = 0; i < RECORDS; i++) handle.write(record, { at: i * RECORD_BYTES });
      handle.flush();
      const start = performance.now();
      for (let i = 0; i < RECORDS; i++) handle.read(new ArrayBuffer(RECORD_BYTES), { at: i * RECORD_BYTES });
      return performance.now() - start;
    } finally {
      handle.close();
    }
  } finally {
    await root.removeEntry(FILE);
  }
}

async function measureIndexedDb(catalogue: Catalogue): Promise<number> {
  const keys = Array.from({ length: RECORDS }, (_, i): [string, number] => [MODEL, i]);
  try {
    for (const key of keys) await catalogue.put("pages", noise(), key);
    const start = performance.now();
    for (const key of keys) await catalogue.get("pages", key);
    return performance.now() - start;
  } finally {
    await catalogue.delete("pages", pagesOf(MODEL));
  }
}

/** Bytes that do not compress: databases compress their values. */
function noise(): ArrayBuffer {
  const words = new Uint32Array(RECORD_BYTES / 4);
  let state = 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return words.buffer;
}
