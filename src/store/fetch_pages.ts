import { throwIfAborted } from "../errors.ts";
import type { PagePart, PagePlan } from "../quant/page.ts";
import { repackPart } from "../quant/repack.ts";
import { coalesce, type Request } from "../source/ranges.ts";
import type { Source } from "../source/source.ts";
import type { Gate, HostBytes } from "./limits.ts";

/** A piece larger than this is one part that is larger. */
const MAX_PIECE_BYTES = 16 * 2 ** 20;
/** Fetching and dropping this much costs less than another request. */
const MAX_GAP_BYTES = 64 * 2 ** 10;

export interface PageFetch {
  readonly source: Source;
  readonly gate: Gate;
  readonly host: HostBytes;
  readonly signal: AbortSignal;
  /** Takes over a page that is complete, and its bytes' place in `host`. */
  done(page: PagePlan, bytes: ArrayBuffer): Promise<void>;
}

interface Page {
  readonly plan: PagePlan;
  bytes: Uint8Array<ArrayBuffer> | undefined;
  missing: number;
}

/**
 * Fetches pages, neighbours in the file in one request, and repacks each piece as it comes: what is held is the
 * pages begun and the pieces in flight. Resolves when `done` has taken every page.
 * @throws what the source throws; then the other requests have ended too, and pages not handed over are gone.
 */
export async function fetchPages(plans: readonly PagePlan[], context: PageFetch): Promise<void> {
  const pages = plans.map((plan): Page => ({ plan, bytes: undefined, missing: plan.parts.length }));
  const parts = pages.flatMap((page) => page.plan.parts.map((part) => ({ page, part })));
  const requests = coalesce(
    parts.map(({ part }) => part.source),
    MAX_GAP_BYTES,
    MAX_PIECE_BYTES,
  );
  const stop = new AbortController();
  const signal = AbortSignal.any([context.signal, stop.signal]);
  const failures: unknown[] = [];
  const fail = (error: unknown): void => {
    failures.push(error);
    stop.abort();
  };
  const handedOver: Promise<void>[] = [];
  const work = requests.map((request) =>
    context.gate
      .run(async () => {
        throwIfAborted(signal);
        const members = request.members.flatMap((member) => parts[member] ?? []);
        const finished = await fetchPiece(request, members, { ...context, signal });
        for (const page of finished) handedOver.push(handOver(page, context).catch(fail));
      })
      .catch(fail),
  );
  await Promise.all(work);
  await Promise.all(handedOver);
  if (failures.length === 0) return;
  for (const { bytes } of pages) context.host.give(bytes?.byteLength ?? 0);
  throwIfAborted(context.signal);
  throw failures[0];
}

/** Fetches one piece and repacks its parts; returns the pages that are complete with it. */
async function fetchPiece(
  request: Request,
  members: readonly { readonly page: Page; readonly part: PagePart }[],
  { source, host, signal }: PageFetch,
): Promise<Page[]> {
  host.take(request.bytes);
  try {
    const piece = await source.read(request.offset, request.bytes, signal);
    const finished: Page[] = [];
    for (const { page, part } of members) {
      if (!page.bytes) {
        host.take(page.plan.bytes);
        page.bytes = new Uint8Array(page.plan.bytes);
      }
      const start = part.source.offset - request.offset;
      repackPart(part, piece.subarray(start, start + part.source.bytes), page.bytes);
      page.missing--;
      if (page.missing === 0) finished.push(page);
    }
    return finished;
  } finally {
    host.give(request.bytes);
  }
}

async function handOver(page: Page, context: PageFetch): Promise<void> {
  const bytes = page.bytes;
  page.bytes = undefined;
  if (bytes) await context.done(page.plan, bytes.buffer);
}
