import { throwIfAborted } from "../errors.ts";
import type { PagePart, PagePlan } from "../quant/page.ts";
import { repackPart } from "../quant/repack.ts";
import { coalesce, type Request } from "../source/ranges.ts";
import type { Source } from "../source/source.ts";
import type { HostBytes } from "./limits.ts";

/**
 * A piece larger than this is one part that is larger. At 100 MB/s such a piece takes as long as the round trip
 * that a request costs; larger ones would save little and hold more.
 */
const MAX_PIECE_BYTES = 4 * 2 ** 20;
/**
 * Fetching and dropping this much costs less than another request. More would cost fewer requests for scattered
 * small experts, but what lies between them is mostly wanted later, and would be fetched twice.
 */
const MAX_GAP_BYTES = 4 * 2 ** 10;

/** Decides when a request may start. */
export interface RequestGate {
  run(task: () => Promise<void>): Promise<void>;
}

export interface PageFetch {
  readonly source: Source;
  readonly gate: RequestGate;
  readonly host: HostBytes;
  /** Waits for room for a piece, which is given back at its `end`. Room for pages is the business of who calls. */
  roomFor(bytes: number, signal: AbortSignal): Promise<{ end(): void }>;
  readonly signal: AbortSignal;
  /** Asked before each request; what is no longer wanted is left out of it, and such a page never done. */
  wants?(page: PagePlan): boolean;
  /** Takes over a page that is complete, and its bytes' place in `host`, unless it rejects. */
  done(page: PagePlan, bytes: ArrayBuffer): Promise<void>;
}

interface Page {
  readonly plan: PagePlan;
  bytes: Uint8Array<ArrayBuffer> | undefined;
  missing: number;
}

/**
 * Fetches pages, neighbours in the file in one request, and repacks each piece as it comes: what is held is the
 * pages begun and the pieces in flight. Resolves when `done` has taken every page that
 * was wanted to the end.
 * @throws what the source throws; then the other requests have ended too, and pages not handed over are gone.
 */
export async function fetchPages(plans: readonly PagePlan[], context: PageFetch): Promise<void> {
  const pages = plans.map((plan): Page => ({ plan, bytes: undefined, missing: plan.parts.length }));
  const parts = pages.flatMap((page) => page.plan.parts.map((part) => ({ page, part })));
  const stop = new AbortController();
  const signal = AbortSignal.any([context.signal, stop.signal]);
  const failures: unknown[] = [];
  const fail = (error: unknown): void => {
    failures.push(error);
    stop.abort();
  };
  const handedOver: Promise<void>[] = [];
  const bring = async (request: Request): Promise<void> => {
    // Before a place in the gate: who has one never waits for room.
    const room = await context.roomFor(request.bytes, signal);
    try {
      await context.gate.run(async () => {
        throwIfAborted(signal);
        const members = request.members
          .flatMap((member) => parts[member] ?? [])
          .filter(({ page }) => context.wants?.(page.plan) ?? true);
        const finished = await fetchPiece(members, { ...context, signal });
        for (const page of finished) handedOver.push(handOver(page, context).catch(fail));
      });
    } finally {
      room.end();
    }
  };
  await Promise.all(requestsFor(plans).map((request) => bring(request).catch(fail)));
  await Promise.all(handedOver);
  for (const { bytes } of pages) context.host.give(bytes?.byteLength ?? 0);
  if (failures.length === 0) return;
  throwIfAborted(context.signal);
  throw failures[0];
}

/** Requests that bring these pages; their members are positions in the list of all parts. */
export function requestsFor(plans: readonly PagePlan[]): Request[] {
  const sources = plans.flatMap(({ parts }) => parts.map(({ source }) => source));
  return coalesce(sources, MAX_GAP_BYTES, MAX_PIECE_BYTES);
}

/** Fetches in one piece what these parts need and repacks them; returns the pages that are complete with it. */
async function fetchPiece(
  members: readonly { readonly page: Page; readonly part: PagePart }[],
  { source, host, signal }: PageFetch,
): Promise<Page[]> {
  if (members.length === 0) return [];
  const offset = Math.min(...members.map(({ part }) => part.source.offset));
  const bytes = Math.max(...members.map(({ part }) => part.source.offset + part.source.bytes)) - offset;
  host.take(bytes);
  try {
    const piece = await source.read(offset, bytes, signal);
    const finished: Page[] = [];
    for (const { page, part } of members) {
      if (!page.bytes) {
        host.take(page.plan.bytes);
        page.bytes = new Uint8Array(page.plan.bytes);
      }
      const start = part.source.offset - offset;
      repackPart(part, piece.subarray(start, start + part.source.bytes), page.bytes);
      page.missing--;
      if (page.missing === 0) finished.push(page);
    }
    return finished;
  } finally {
    host.give(bytes);
  }
}

async function handOver(page: Page, context: PageFetch): Promise<void> {
  const bytes = page.bytes;
  page.bytes = undefined;
  if (!bytes) return;
  try {
    await context.done(page.plan, bytes.buffer);
  } catch (error) {
    context.host.give(bytes.byteLength);
    throw error;
  }
}
