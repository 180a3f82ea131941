import { abortedError, SluiceError, throwIfAborted } from "../errors.ts";
import { checkRange } from "./blob.ts";
import { type Folder, isMissing } from "./folder.ts";
import { badFile } from "./gguf_errors.ts";
import type { FileInfo } from "./model_file.ts";
import type { Source } from "./source.ts";

/** Files opened or read at a time. */
const BATCH = 4;

interface Part extends FileInfo {
  /** Where it starts among all. */
  readonly start: number;
  source: Promise<Source> | undefined;
}

/** A file among the others, to be read by itself. */
export interface PlacedFile {
  readonly source: Source;
  readonly start: number;
}

/**
 * The files of one model as one: positions count through them, one after the other. A read that crosses from one to
 * the next is two reads.
 */
export class ModelFiles implements Source {
  readonly id: string;
  readonly name: string;
  readonly #folder: Folder;
  readonly #changed: () => void;
  readonly #closed = new AbortController();
  readonly #opened: Source[] = [];
  #parts: readonly Part[] = [];
  #size = 0;

  /** @param changed called when a file turns out to have another size than when its header was read */
  constructor(id: string, name: string, folder: Folder, changed: () => void = () => {}) {
    this.id = id;
    this.name = name;
    this.#folder = folder;
    this.#changed = changed;
  }

  get size(): number {
    return this.#size;
  }

  get files(): readonly FileInfo[] {
    return this.#parts.map(({ name, size }) => ({ name, size }));
  }

  get bytesFetched(): number {
    return this.#opened.reduce((sum, { bytesFetched }) => sum + bytesFetched, 0);
  }

  /** Adds files behind those that are there, in this order. */
  async add(names: readonly string[], signal?: AbortSignal): Promise<PlacedFile[]> {
    const sources = await inBatches(names, (name) => this.#open(name, signal));
    return sources.map((source, i) => {
      const placed = { source, start: this.#size };
      this.#place({ name: names[i] as string, size: source.size }, Promise.resolve(source));
      return placed;
    });
  }

  /** Places files whose sizes are known; each is opened when it is first read. */
  expect(files: readonly FileInfo[]): void {
    for (const file of files) this.#place(file, undefined);
  }

  /**
   * The whole text of a file beside the others, or undefined where there is none: also where a server answers every
   * path with a page.
   * @throws SluiceError `bad-model-file` for a file above `mostBytes`
   */
  async text(name: string, mostBytes: number, signal?: AbortSignal): Promise<string | undefined> {
    try {
      const source = await this.#open(name, signal);
      if (source.size > mostBytes) {
        const message = `it has ${source.size} bytes, more than the ${mostBytes} such a file may have`;
        throw badFile(name, message, { size: source.size, most: mostBytes });
      }
      const text = new TextDecoder().decode(await source.read(0, source.size, signal));
      return /^\s*</.test(text) ? undefined : text;
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  async read(offset: number, bytes: number, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    throwIfAborted(this.#closed.signal);
    checkRange(this, offset, bytes);
    const pieces = await Promise.all(
      this.#parts
        .filter(({ start, size }) => start < offset + bytes && start + size > offset)
        .map(async (part) => {
          const first = Math.max(0, offset - part.start);
          const end = Math.min(part.size, offset + bytes - part.start);
          const source = await unlessAborted(this.#sourceOf(part), signal);
          return source.read(first, end - first, signal);
        }),
    );
    throwIfAborted(signal);
    const [only = new Uint8Array(0)] = pieces;
    if (pieces.length < 2) return only;
    const joined = new Uint8Array(bytes);
    let at = 0;
    for (const piece of pieces) {
      joined.set(piece, at);
      at += piece.byteLength;
    }
    return joined;
  }

  close(): void {
    this.#closed.abort();
    for (const source of this.#opened) source.close();
  }

  #place(file: FileInfo, source: Promise<Source> | undefined): void {
    this.#parts = [...this.#parts, { ...file, start: this.#size, source }];
    this.#size += file.size;
  }

  async #open(name: string, signal: AbortSignal | undefined): Promise<Source> {
    const source = await this.#folder.open(name, signal);
    this.#opened.push(source);
    return source;
  }

  #sourceOf(part: Part): Promise<Source> {
    if (part.source) return part.source;
    const opening = this.#open(part.name, this.#closed.signal).then((source) => {
      if (source.size === part.size) return source;
      this.#changed();
      throw sizeChanged(this.id, source, part.size);
    });
    part.source = opening;
    opening.catch(() => {
      part.source = undefined;
    });
    return opening;
  }
}

/** `bad-model-file`: the source is no longer the file whose header is known. */
export function sizeChanged(modelId: string, { name, size }: Source, expected: number): SluiceError {
  return new SluiceError(
    "bad-model-file",
    `${name} has ${size} bytes; it had ${expected} when its header was read`,
    {
      remedy: "The file was replaced: close the model and load it again.",
      details: { modelId, size, expected },
    },
  );
}

function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  throwIfAborted(signal);
  return new Promise((resolve, reject) => {
    const stop = () => reject(abortedError(signal.reason));
    signal.addEventListener("abort", stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

/** What `work` gives for each item, a few of which are worked on side by side. */
export async function inBatches<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let first = 0; first < items.length; first += BATCH) {
    results.push(...(await Promise.all(items.slice(first, first + BATCH).map(work))));
  }
  return results;
}
