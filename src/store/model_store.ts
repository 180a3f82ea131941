import { abortedError, SluiceError, throwIfAborted } from "../errors.ts";
import type { PagePlan } from "../quant/page.ts";
import { readGguf } from "../source/gguf.ts";
import type { ModelFile } from "../source/model_file.ts";
import { sourceId } from "../source/open.ts";
import type { Source, SourceSpec } from "../source/source.ts";
import { type Backend, isQuotaError, type ModelRecord, type PageSum } from "./backend.ts";
import { layoutFingerprint, pageSum, verify } from "./checksum.ts";
import { fetchPages } from "./fetch_pages.ts";
import { Gate, HostBytes } from "./limits.ts";
import { type Flight, OpenModel } from "./open_model.ts";
import type { OpenedModel, StoreService, StoreStats } from "./service.ts";

const MAX_PARALLEL_REQUESTS = 4;
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
    model.layout = layout;
    model.pages = new Map(pages.map((page) => [page.index, page]));
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
    if (model.writeError !== undefined) {
      throw new SluiceError(
        "storage-corrupt",
        `pages of ${modelId} could not be written: ${model.writeError}`,
        {
          remedy: "The next load fetches them again; if it happens again, clear this site's data.",
          details: { modelId },
          cause: model.writeError,
        },
      );
    }
  }

  #enter(id: string, spec: SourceSpec): Entry {
    const model = new OpenModel(id, spec);
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
    const file = await readGguf(await model.source(), signal);
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
      const found = await this.#backend.page(model.id, page.index).then(
        (stored) => verify(stored, page.bytes, layout),
        () => "corrupt" as const,
      );
      if (found instanceof ArrayBuffer) {
        this.#deliver(model, flight, found);
        return true;
      }
      if (found === "corrupt") {
        flight.wasCorrupt = true;
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
    const write = this.#backend
      .putPage(model.id, page.index, bytes, sum)
      .catch((error) => this.#noteWriteError(model, error));
    model.writes.add(write, page.bytes);
  }

  #noteWriteError(model: OpenModel, error: unknown): void {
    if (isQuotaError(error)) model.storageFull = true;
    else model.writeError ??= error;
  }
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
