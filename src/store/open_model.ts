import { abortedError, SluiceError } from "../errors.ts";
import type { PagePlan } from "../quant/page.ts";
import type { FileInfo } from "../source/model_file.ts";
import type { ModelFiles } from "../source/model_files.ts";
import { openSource } from "../source/open.ts";
import { ReadAhead } from "../source/read_ahead.ts";
import type { SourceSpec } from "../source/source.ts";
import type { PageSum } from "./backend.ts";
import { type HostBytes, WriteBehind } from "./limits.ts";

interface Taker {
  /** Counts what it is given. */
  took(bytes: number): void;
  resolve(bytes: ArrayBuffer): void;
  reject(error: unknown): void;
}

/** A page on its way, and everyone who waits for it. */
export class Flight {
  readonly page: PagePlan;
  /** A record was found that could not be served. */
  wasCorrupt = false;
  /** Resolves when it was delivered or failed. */
  readonly ended: Promise<void>;
  readonly #takers: Taker[] = [];
  #end = () => {};

  constructor(page: PagePlan) {
    this.page = page;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  join(took: (bytes: number) => void): Promise<ArrayBuffer> {
    return new Promise((resolve, reject) => this.#takers.push({ took, resolve, reject }));
  }

  /** The first taker gets `bytes`, the others copies, made now: the first may transfer it away. */
  deliver(bytes: ArrayBuffer): void {
    for (const [i, taker] of this.#takers.entries()) {
      taker.took(bytes.byteLength);
      taker.resolve(i === 0 ? bytes : bytes.slice(0));
    }
    this.#takers.length = 0;
    this.#end();
  }

  fail(error: unknown): void {
    for (const taker of this.#takers) taker.reject(error);
    this.#takers.length = 0;
    this.#end();
  }
}

/** One model in use: its header, its page list, its source while one is needed, and what is under way. */
export class OpenModel {
  readonly id: string;
  readonly spec: SourceSpec;
  /** Calls of `open` that were not closed. */
  users = 0;
  readonly writes = new WriteBehind();
  /** Pages written since the model was planned, or being written. */
  readonly written = new Set<number>();
  /** Pages that an install fetches or is about to write, and the end of that. */
  readonly installing = new Map<number, Promise<void>>();
  /** The sums that pages were found whole with. */
  readonly verified = new Map<number, PageSum>();
  /** The first write that failed for another reason than a full disk. */
  writeError: unknown;
  storageFull = false;
  readonly #host: HostBytes;
  #layout = "";
  #pages: ReadonlyMap<number, PagePlan> = new Map();
  /** Pages still to be made from bytes that came with the header. */
  #ahead = new Set<number>();
  #flights = new Map<number, Flight>();
  #work = new AbortController();
  #source: Promise<ReadAhead<ModelFiles>> | undefined;
  #opened: ReadAhead<ModelFiles> | undefined;
  readonly #changed: () => void;

  /** @param changed called when one of several files turns out to have been replaced by one of another size */
  constructor(id: string, spec: SourceSpec, host: HostBytes, changed: () => void) {
    this.id = id;
    this.spec = spec;
    this.#host = host;
    this.#changed = changed;
  }

  get layout(): string {
    return this.#layout;
  }

  get pages(): ReadonlyMap<number, PagePlan> {
    return this.#pages;
  }

  plan(pages: readonly PagePlan[], layout: string): void {
    this.#layout = layout;
    this.#pages = new Map(pages.map((page) => [page.index, page]));
    this.written.clear();
    this.verified.clear();
    const source = this.#opened;
    const ahead = pages.filter(({ parts }) => parts.some((part) => source?.keeps(part.source)));
    this.#ahead = new Set(ahead.map(({ index }) => index));
    if (this.#ahead.size === 0) this.#forgetAhead();
  }

  /** Keeps what came of the source with its header, beyond it, until the pages that lie there were made. */
  keepAhead(headerBytes: number): void {
    this.#opened?.keepFrom(headerBytes);
    this.#host.take(this.#opened?.keptBytes ?? 0);
  }

  /** What a page was made of need not be kept any more. */
  made({ index }: PagePlan): void {
    if (this.#ahead.delete(index) && this.#ahead.size === 0) this.#forgetAhead();
  }

  /** Fires when what is running now is aborted; later work gets another signal. */
  get signal(): AbortSignal {
    return this.#work.signal;
  }

  get bytesFetched(): number {
    return this.#opened?.bytesFetched ?? 0;
  }

  abort(): void {
    this.#work.abort();
    const error = abortedError(this.#work.signal.reason);
    for (const flight of this.#flights.values()) flight.fail(error);
    this.#flights = new Map();
    this.#work = new AbortController();
    // A source that is still opening ends with what was aborted; later work must not wait for that one.
    if (!this.#opened) this.#source = undefined;
  }

  flight(index: number): Flight | undefined {
    return this.#flights.get(index);
  }

  startFlight(page: PagePlan): Flight {
    const flight = new Flight(page);
    this.#flights.set(page.index, flight);
    return flight;
  }

  /** @throws SluiceError `bad-request` for a page that was not declared. */
  page(index: number): PagePlan {
    const page = this.#pages.get(index);
    if (page) return page;
    throw new SluiceError(
      "bad-request",
      `page ${index} of ${this.id} is not among its ${this.#pages.size} pages`,
      {
        remedy: "Declare the model's pages with plan() before they are read.",
        details: { modelId: this.id, page: index, pages: this.#pages.size },
      },
    );
  }

  /** From now on a read of this page starts anew. */
  endFlight(flight: Flight): void {
    const { index } = flight.page;
    if (this.#flights.get(index) === flight) this.#flights.delete(index);
  }

  /** The source, opened when it is first needed. @param known its files, where there are several and they are known */
  source(known?: readonly FileInfo[]): Promise<ReadAhead<ModelFiles>> {
    if (this.#source) return this.#source;
    const opening = openSource(this.spec, this.signal, known, this.#changed).then((source) => {
      this.#opened = new ReadAhead(source);
      return this.#opened;
    });
    this.#source = opening;
    opening.catch(() => {
      if (this.#source === opening) this.#source = undefined;
    });
    return opening;
  }

  close(): void {
    this.#forgetAhead();
    this.#opened?.close();
    this.#opened = undefined;
    this.#source = undefined;
  }

  #forgetAhead(): void {
    this.#host.give(this.#opened?.keptBytes ?? 0);
    this.#opened?.forget();
  }
}
