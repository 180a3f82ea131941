import { abortedError, SluiceError, throwIfAborted } from "../errors.ts";
import type { PagePlan } from "../quant/page.ts";
import { readGguf } from "../source/gguf.ts";
import type { ModelFile } from "../source/model_file.ts";
import { sourceId } from "../source/open.ts";
import type { Source, SourceSpec } from "../source/source.ts";
import { type Backend, isQuotaError, type ModelRecord, type PageSum } from "./backend.ts";
import { layoutFingerprint, pageSum, verify } from "./checksum.ts";
import { fetchPages } from "./fetch_pages.ts";
import { batchesOf, notKept, storageFull, writeFailed } from "./install.ts";
import { Gate, GateBehind, HostBytes } from "./limits.ts";
import { type Flight, OpenModel } from "./open_model.ts";
import type { OpenedModel, StoreService, StoreStats } from "./service.ts";

/** For reads, and on top of them for installing: together what browsers allow for a host over HTTP/1.1. */
const MAX_PARALLEL_REQUESTS = 4;
const MAX_INSTALL_REQUESTS = 2;
/** A read that must fetch waits while more than this is still to be written, so that memory stays bounded. */
const MAX_BYTES_BEHIND = 64 * 2 ** 20;

interface Entry {
  readonly model: OpenModel;
  readonly file: Promise<ModelFile>;
}

/**
 * Serves pages from a back end, and fetches, repacks and keeps those that are not there or not sound.
 *
 * Answers do not wait for the disk. A page that finds no room is served all the same, `stats().storageFull`
 * turns true and the model writes nothing more until it is opened again. A write that fails for another reason
 * is thrown by `close`, as `storage-corrupt`.
 *
 * `hostBytesPeak` counts pages until they are handed over and pieces in flight. The copies a back end makes
 * while it writes come on top: at most one batch and 64 MiB.
 */
export class ModelStore implements StoreService {
  readonly #backend: Backend;
  readonly #entries = new Map<string, Entry>();
  readonly #gate = new Gate(MAX_PARALLEL_REQUESTS);
  readonly #installGate = new GateBehind(this.#gate, MAX_INSTALL_REQUESTS);
  readonly #batchGate = new Gate(1);
  readonly #host = new HostBytes();
  #closedBytesFetched = 0;

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  async open(spec: SourceSpec): Promise<OpenedModel> {
    const id = await sourceId(spec);
    const entry = this.#entries.get(id) ?? this.#enter(id, spec);
    entry.model.users++;
    return { id, file: await entry.file };
  }

  async plan(modelId: string, pages: readonly PagePlan[]): Promise<void> {
    const { model, file } = this.#entry(modelId);
    for (const page of pages) checkPage(page);
    const layout = await layoutFingerprint(pages);
    const record = await this.#record(modelId);
    model.plan(pages, layout);
    if (record?.layout === layout) return;
    // Stale pages could not be served anyway, their sums name their layout; this gives their room back.
    await this.#backend.dropPages(modelId).catch((error) => this.#noteWriteError(model, error));
    const createdAt = record?.createdAt ?? Date.now();
    await this.#putRecord(model, { id: modelId, file: await file, layout, createdAt });
  }

  async read(modelId: string, pages: readonly number[]): Promise<ArrayBuffer[]> {
    const { model } = this.#entry(modelId);
    const started: Flight[] = [];
    const answers = pages
      .map((index) => model.page(index))
      .map((page) => {
        let flight = model.flight(page.index);
        if (!flight) {
          flight = model.startFlight(page);
          started.push(flight);
        }
        return flight.join();
      });
    if (started.length > 0) void this.#bring(model, started);
    return Promise.all(answers);
  }

  async missing(modelId: string): Promise<number[]> {
    const { model } = this.#entry(modelId);
    const missing = await this.#notOnDisk(model, [...model.pages.values()], model.layout);
    return missing.map((page) => page.index);
  }

  /** Pages that a `read` asks for meanwhile are fetched by that, and skipped here unless already under way. */
  async install(modelId: string, indexes: readonly number[]): Promise<void> {
    const { model } = this.#entry(modelId);
    const { signal, layout } = model;
    const pages = indexes.map((index) => model.page(index));
    let left = await this.#notOnDisk(model, pages, layout);
    while (left.length > 0) {
      const leftToReads = new Set<Flight>();
      for (const batch of batchesOf(left)) {
        await this.#batchGate.run(() => this.#installBatch(model, batch, leftToReads, signal, layout));
      }
      await Promise.all(Array.from(leftToReads, (flight) => flight.ended));
      await model.writes.atMost(0);
      const tried = left.length;
      left = await this.#notOnDisk(model, pages, layout);
      throwIfAborted(signal);
      // A database that was taken away takes writes and keeps nothing.
      if (left.length === tried && leftToReads.size === 0) throw notKept(modelId, tried);
    }
  }

  abort(modelId: string): void {
    this.#entries.get(modelId)?.model.abort();
  }

  async stats(): Promise<StoreStats> {
    const models = Array.from(this.#entries.values(), (entry) => entry.model);
    return {
      bytesFetched: models.reduce((sum, model) => sum + model.bytesFetched, this.#closedBytesFetched),
      hostBytesPeak: this.#host.peak,
      storageFull: models.some((model) => model.storageFull),
    };
  }

  /**
   * Reads that still run end with `aborted`.
   * @throws SluiceError `storage-corrupt` when pages could not be written; the model is closed all the same.
   */
  async close(modelId: string): Promise<void> {
    const { model } = this.#entry(modelId);
    model.users--;
    if (model.users > 0) return;
    this.#entries.delete(modelId);
    model.abort();
    await model.writes.atMost(0);
    this.#closedBytesFetched += model.bytesFetched;
    model.close();
    if (model.writeError !== undefined) throw writeFailed(modelId, model.writeError);
  }

  #enter(id: string, spec: SourceSpec): Entry {
    const model = new OpenModel(id, spec, this.#host);
    const entry = { model, file: this.#header(model) };
    this.#entries.set(id, entry);
    entry.file.catch(() => {
      this.#closedBytesFetched += model.bytesFetched;
      model.close();
      if (this.#entries.get(id) === entry) this.#entries.delete(id);
    });
    return entry;
  }

  #entry(modelId: string): Entry {
    const entry = this.#entries.get(modelId);
    if (entry) return entry;
    throw new SluiceError("bad-request", `${modelId} is not open`, {
      remedy: "Open the model first.",
      details: { modelId },
    });
  }

  /** From the catalogue, without touching the source, if it is there. */
  async #header(model: OpenModel): Promise<ModelFile> {
    const { id, signal } = model;
    const known = await this.#record(id);
    throwIfAborted(signal);
    if (known) return known.file;
    const source = await model.source();
    source.remember();
    const file = await readGguf(source, signal);
    model.keepAhead(Math.min(file.size, ...file.tensors.map(({ offset }) => offset)));
    await this.#putRecord(model, { id, file, layout: "", createdAt: Date.now() });
    throwIfAborted(signal);
    return file;
  }

  /** A catalogue that cannot be read is an empty one: everything in it can be fetched again. */
  async #record(id: string): Promise<ModelRecord | undefined> {
    return this.#backend.model(id).catch(() => undefined);
  }

  async #putRecord(model: OpenModel, record: ModelRecord): Promise<void> {
    await this.#backend.putModel(record).catch((error) => this.#noteWriteError(model, error));
  }

  /** Sees to it that every flight ends. */
  async #bring(model: OpenModel, flights: readonly Flight[]): Promise<void> {
    const { signal } = model;
    try {
      const found = await Promise.all(flights.map((flight) => this.#fromDisk(model, flight)));
      const missing = flights.filter((_, i) => !found[i]);
      if (missing.length > 0) await this.#fromSource(model, missing, signal);
    } catch (error) {
      const failure = signal.aborted ? abortedError(signal.reason) : error;
      for (const flight of flights) {
        model.endFlight(flight);
        flight.fail(failure);
      }
    }
  }

  /** Whether the page was there and sound. What was not sound is dropped. */
  async #fromDisk(model: OpenModel, flight: Flight): Promise<boolean> {
    const { page } = flight;
    const { layout } = model;
    this.#host.take(page.bytes);
    try {
      const stored = await this.#backend.page(model.id, page.index).catch(() => undefined);
      const known = model.verified.get(page.index);
      const found = stored ? await verify(stored, page.bytes, layout, known) : "corrupt";
      if (found instanceof ArrayBuffer) {
        if (stored?.sum && !stored.mayHaveChanged) model.verified.set(page.index, stored.sum);
        this.#deliver(model, flight, found);
        return true;
      }
      if (found === "corrupt") {
        flight.wasCorrupt = true;
        model.written.delete(page.index);
        await this.#backend
          .dropPage(model.id, page.index)
          .catch((error) => this.#noteWriteError(model, error));
      }
      return false;
    } finally {
      this.#host.give(page.bytes);
    }
  }

  async #fromSource(model: OpenModel, flights: readonly Flight[], signal: AbortSignal): Promise<void> {
    const byPage = new Map(flights.map((flight) => [flight.page, flight]));
    const { layout } = model;
    try {
      await model.writes.atMost(MAX_BYTES_BEHIND);
      throwIfAborted(signal);
      const source = await this.#sourceOf(model);
      await fetchPages([...byPage.keys()], {
        source,
        signal,
        gate: this.#gate,
        host: this.#host,
        done: async (page, bytes) => {
          const flight = byPage.get(page);
          model.made(page);
          if (!model.storageFull) this.#write(model, page, bytes, await pageSum(bytes, layout));
          if (flight) this.#deliver(model, flight, bytes);
          this.#host.give(page.bytes);
        },
      });
    } catch (error) {
      const lost = flights.find((flight) => flight.wasCorrupt);
      if (!lost || !(error instanceof SluiceError) || error.code !== "network") throw error;
      throw corrupt(model.id, lost.page, error);
    }
  }

  async #notOnDisk(model: OpenModel, pages: readonly PagePlan[], layout: string): Promise<PagePlan[]> {
    const sums = await this.#backend.sums(model.id).catch(() => new Map<number, PageSum>());
    return pages.filter(({ index, bytes }) => {
      const sum = sums.get(index);
      return sum?.layout !== layout || sum.bytes !== bytes;
    });
  }

  async #installBatch(
    model: OpenModel,
    batch: readonly PagePlan[],
    leftToReads: Set<Flight>,
    signal: AbortSignal,
    layout: string,
  ): Promise<void> {
    throwIfAborted(signal);
    throwUnlessWriting(model);
    const isWanted = ({ index }: PagePlan): boolean => {
      const flight = model.flight(index);
      if (flight) leftToReads.add(flight);
      return !flight && !model.written.has(index);
    };
    const wanted = batch.filter(isWanted);
    if (wanted.length === 0) return;
    await fetchPages(wanted, {
      source: await this.#sourceOf(model),
      signal,
      gate: this.#installGate,
      host: this.#host,
      wants: isWanted,
      done: async (page, bytes) => {
        model.made(page);
        const sum = await pageSum(bytes, layout);
        if (isWanted(page) && !model.storageFull) this.#write(model, page, bytes, sum);
        await model.writes.atMost(0);
        this.#host.give(page.bytes);
      },
    });
    throwUnlessWriting(model);
  }

  /** @throws SluiceError `bad-model-file` when the source is no longer the file whose header is known. */
  async #sourceOf(model: OpenModel): Promise<Source> {
    const { id } = model;
    const [source, file] = await Promise.all([model.source(), this.#entry(id).file]);
    if (source.size === file.size) return source;
    await this.#backend.dropModel(id).catch((error) => this.#noteWriteError(model, error));
    throw new SluiceError(
      "bad-model-file",
      `${source.name} has ${source.size} bytes; it had ${file.size} when its header was read`,
      {
        remedy: "The file was replaced: close the model and load it again.",
        details: { modelId: id, size: source.size, expected: file.size },
      },
    );
  }

  #deliver(model: OpenModel, flight: Flight, bytes: ArrayBuffer): void {
    model.endFlight(flight);
    flight.deliver(bytes);
  }

  /** Returns when the back end has its own copy of `bytes`; the writing goes on. */
  #write(model: OpenModel, page: PagePlan, bytes: ArrayBuffer, sum: PageSum): void {
    model.written.add(page.index);
    const write = this.#backend.putPage(model.id, page.index, bytes, sum).catch((error) => {
      model.written.delete(page.index);
      this.#noteWriteError(model, error);
    });
    model.writes.add(write, page.bytes);
  }

  #noteWriteError(model: OpenModel, error: unknown): void {
    if (isQuotaError(error)) model.storageFull = true;
    else model.writeError ??= error;
  }
}

/** @throws SluiceError `storage-full`, `storage-corrupt`: what keeps `model` from writing. */
function throwUnlessWriting(model: OpenModel): void {
  if (model.storageFull) throw storageFull(model.id);
  if (model.writeError !== undefined) throw writeFailed(model.id, model.writeError);
}

/** @throws SluiceError `bad-request` for a page that could never be brought. */
function checkPage(page: PagePlan): void {
  if (page.parts.length > 0) return;
  throw new SluiceError("bad-request", `page ${page.index} (${page.label}) has no parts`, {
    remedy: "Plan pages with at least one part.",
    details: { page: page.index, label: page.label },
  });
}

function corrupt(modelId: string, page: PagePlan, cause: SluiceError): SluiceError {
  return new SluiceError(
    "storage-corrupt",
    `page ${page.index} (${page.label}) was damaged on disk and could not be fetched again: ${cause.message}`,
    {
      remedy: "Connect to the network and load again.",
      details: { modelId, page: page.index, label: page.label },
      cause,
    },
  );
}
