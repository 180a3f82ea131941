import { SluiceError, throwIfAborted } from "../errors.ts";
import { type ByteRange, batchesOf, type PagePlan } from "../quant/page.ts";
import type { Source } from "../source/source.ts";
import { fetchPages, type RequestGate, requestsFor } from "./fetch_pages.ts";
import { type Keeper, throwUnlessWriting } from "./keeper.ts";
import type { Budget, Claim, HostBytes } from "./limits.ts";
import type { OpenModel } from "./open_model.ts";

/** On top of those for reads: together what browsers allow for a host over HTTP/1.1. */
export const MAX_INSTALL_REQUESTS = 2;
/** With its pieces a batch takes less than twice its bytes: while one is written, the next is fetched. */
const BATCHES_IN_BUDGET = 4;

export interface InstallContext {
  readonly budget: Budget;
  readonly host: HostBytes;
  readonly keeper: Keeper;
  readonly gate: RequestGate;
  sourceOf(model: OpenModel): Promise<Source>;
}

/** One call of `install`. */
interface Installing extends InstallContext {
  readonly model: OpenModel;
  readonly layout: string;
  readonly signal: AbortSignal;
  /** What brings the pages that this call leaves to others. */
  readonly others: Set<Promise<void>>;
}

interface Fetched {
  readonly page: PagePlan;
  readonly bytes: ArrayBuffer;
}

/** Pages that a `read` asks for meanwhile are fetched by that, and skipped here unless already under way. */
export async function install(
  model: OpenModel,
  pages: readonly PagePlan[],
  context: InstallContext,
): Promise<void> {
  const { signal, layout } = model;
  const { keeper } = context;
  let left = await keeper.notOnDisk(model, pages, layout);
  while (left.length > 0) {
    const others = new Set<Promise<void>>();
    await installBatches(left, { ...context, model, layout, signal, others });
    await Promise.all(others);
    await model.writes.idle();
    const tried = left.length;
    left = await keeper.notOnDisk(model, pages, layout);
    throwIfAborted(signal);
    // A database that was taken away takes writes and keeps nothing.
    if (left.length === tried && others.size === 0) throw notKept(model.id, tried);
  }
}

/** Starts batch after batch, each when there is room for it: the next is fetched while one is written. */
async function installBatches(pages: readonly PagePlan[], context: Installing): Promise<void> {
  const { model, budget, signal } = context;
  const running: Promise<void>[] = [];
  const failures: unknown[] = [];
  try {
    for (const batch of batchesOf(pages, budget.capacity / BATCHES_IN_BUDGET)) {
      throwUnlessWriting(model);
      const claim = await budget.claim("install", roomFor(batch, requestsFor(batch)), signal);
      const installed = installBatch(batch, claim, context).finally(() => claim.end());
      running.push(installed.catch((error) => void failures.push(error)));
      if (failures.length > 0) break;
    }
  } finally {
    await Promise.all(running);
  }
  if (failures.length > 0) throw failures[0];
  throwUnlessWriting(model);
}

async function installBatch(batch: readonly PagePlan[], claim: Claim, context: Installing): Promise<void> {
  const { model, signal, host, gate, others } = context;
  throwIfAborted(signal);
  const isWanted = ({ index }: PagePlan): boolean => {
    const flight = model.flight(index);
    if (flight) others.add(flight.ended);
    return !flight && !model.written.has(index);
  };
  const wanted = batch.filter((page) => {
    const other = model.installing.get(page.index);
    if (other) others.add(other);
    return !other && isWanted(page);
  });
  if (wanted.length === 0) return;
  let end = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  for (const { index } of wanted) model.installing.set(index, ended);
  const ready: Fetched[] = [];
  try {
    const source = await context.sourceOf(model);
    const done = async (page: PagePlan, bytes: ArrayBuffer) => {
      model.made(page);
      ready.push({ page, bytes });
    };
    const left = requestsFor(wanted);
    const roomForPiece = async (bytes: number) => ({
      end: () => {
        left.splice(
          left.findIndex((request) => request.bytes === bytes),
          1,
        );
        claim.shrink(roomFor(wanted, left));
      },
    });
    await fetchPages(wanted, { source, signal, gate, host, roomFor: roomForPiece, wants: isWanted, done });
  } finally {
    await writeAll(ready, isWanted, claim, context);
    for (const { index } of wanted) model.installing.delete(index);
    end();
  }
}

/** One by one, and gives up the room for each when it is written. */
async function writeAll(
  fetched: readonly Fetched[],
  isWanted: (page: PagePlan) => boolean,
  claim: Claim,
  { model, layout, signal, keeper, host }: Installing,
): Promise<void> {
  const sizes = fetched.map(({ page }) => page.bytes);
  let left = sum(sizes);
  const copy = Math.max(0, ...sizes);
  try {
    for (const { page, bytes } of fetched) {
      claim.shrink(left + copy);
      if (!signal.aborted && !model.storageFull) {
        const pageSum = await keeper.sum(bytes, layout);
        if (isWanted(page)) await keeper.write(model, page, bytes, pageSum);
      }
      left -= page.bytes;
      host.give(page.bytes);
    }
  } catch (error) {
    host.give(left);
    throw error;
  }
}

/** What a batch takes: its pages, and either the pieces that may be in flight or a copy of a page. */
function roomFor(batch: readonly PagePlan[], requests: readonly ByteRange[]): number {
  const pieces = requests.map(({ bytes }) => bytes).toSorted((a, b) => b - a);
  const inFlight = sum(pieces.slice(0, MAX_INSTALL_REQUESTS));
  const pages = batch.map(({ bytes }) => bytes);
  return sum(pages) + Math.max(inFlight, ...pages);
}

function sum(list: readonly number[]): number {
  return list.reduce((all, bytes) => all + bytes, 0);
}

function notKept(modelId: string, pages: number): SluiceError {
  return new SluiceError("storage-full", `${pages} pages of ${modelId} were written and are not on disk`, {
    remedy: "This site's data was removed while it was in use: load the model again.",
    details: { modelId, pages },
  });
}
