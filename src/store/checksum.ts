import type { PagePlan } from "../quant/page.ts";
import { PAGE_LAYOUT_VERSION } from "../quant/repack.ts";
import type { PageSum, StoredPage } from "./backend.ts";

/** SHA-256 in hexadecimal. The bytes are copied at the call. */
export async function sha256(bytes: ArrayBuffer | Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Names a page list together with the layout its pages are in: equal names, equal bytes in every page. */
export async function layoutFingerprint(pages: readonly PagePlan[]): Promise<string> {
  const list = pages.map(({ index, bytes, parts }) => [
    index,
    bytes,
    parts.map(({ tensor, type, stored, rows, cols, source, gather, offset, bytes }) => [
      tensor,
      type,
      stored,
      rows,
      cols,
      source.offset,
      source.bytes,
      offset,
      bytes,
      ...(gather ? [gather.first, gather.row, gather.col] : []),
    ]),
  ]);
  return sha256(new TextEncoder().encode(JSON.stringify([PAGE_LAYOUT_VERSION, list])));
}

/**
 * The page's bytes if they are what was once written for this page list; `missing` if none were;
 * `corrupt` if something else is there.
 *
 * `known` is the sum that the page was verified with before. The same bytes are not summed twice: a page of
 * 2.65 MB takes 4.4 ms to sum and 1.8 ms to read from OPFS (9.6 ms from IndexedDB), and once it was found whole
 * only this session writes there. What another tab may write to is verified each time.
 *
 * @param digest gives the SHA-256 of bytes, when there is memory for the copy that takes
 */
export async function verify(
  stored: StoredPage,
  pageBytes: number,
  layout: string,
  known: PageSum | undefined,
  digest: (bytes: ArrayBuffer) => Promise<string> = sha256,
): Promise<ArrayBuffer | "missing" | "corrupt"> {
  const { bytes, sum, mayHaveChanged = false } = stored;
  if (!bytes && !sum) return "missing";
  if (sum && sum.layout !== layout) return "missing";
  if (bytes && sum && sum.bytes === pageBytes && bytes.byteLength === pageBytes) {
    const isKnown = known?.sha256 === sum.sha256 && known.extent?.offset === sum.extent?.offset;
    if ((isKnown && !mayHaveChanged) || (await digest(bytes)) === sum.sha256) return bytes;
  }
  return mayHaveChanged ? "missing" : "corrupt";
}

export async function pageSum(bytes: ArrayBuffer, layout: string): Promise<PageSum> {
  return { bytes: bytes.byteLength, sha256: await sha256(bytes), layout };
}
