import { abortedError, SluiceError, throwIfAborted } from "../errors.ts";
import type { Source } from "./source.ts";

/** Reads a Blob or File; the browser keeps large ones on disk. */
export class BlobSource implements Source {
  readonly id: string;
  readonly name: string;
  readonly size: number;
  readonly bytesFetched = 0;
  readonly #blob: Blob;
  readonly #closed = new AbortController();

  constructor(id: string, name: string, blob: Blob) {
    this.id = id;
    this.name = name;
    this.size = blob.size;
    this.#blob = blob;
  }

  async read(offset: number, bytes: number, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    throwIfAborted(this.#closed.signal);
    checkRange(this, offset, bytes);
    return readBlob(this.#blob, this.name, offset, bytes, signal);
  }

  close(): void {
    this.#closed.abort();
  }
}

/**
 * @throws SluiceError `bad-model-file` when the file behind the blob can no longer be read, `aborted`.
 */
export async function readBlob(
  blob: Blob,
  name: string,
  offset: number,
  bytes: number,
  signal: AbortSignal | undefined,
): Promise<Uint8Array<ArrayBuffer>> {
  throwIfAborted(signal);
  let buffer: ArrayBuffer;
  try {
    buffer = await blob.slice(offset, offset + bytes).arrayBuffer();
  } catch (cause) {
    if (signal?.aborted) throw abortedError(signal.reason);
    throw fileGone(name, offset, bytes, 0, cause);
  }
  throwIfAborted(signal);
  if (buffer.byteLength !== bytes) throw fileGone(name, offset, bytes, buffer.byteLength, undefined);
  return new Uint8Array(buffer);
}

/** @throws SluiceError `bad-model-file` unless `bytes` bytes from `offset` lie inside the source. */
export function checkRange(source: Pick<Source, "name" | "size">, offset: number, bytes: number): void {
  const { name, size } = source;
  const end = offset + bytes;
  if (Number.isSafeInteger(offset) && Number.isSafeInteger(end) && offset >= 0 && bytes >= 0 && end <= size)
    return;
  throw new SluiceError(
    "bad-model-file",
    `bytes ${offset} to ${end} were asked of ${name}, which has ${size} bytes`,
    { remedy: "The file is cut short or damaged: get it again.", details: { offset, end, size, name } },
  );
}

function fileGone(name: string, offset: number, needed: number, actual: number, cause: unknown): SluiceError {
  return new SluiceError(
    "bad-model-file",
    `${name} could not be read: ${needed} bytes wanted at ${offset}, ${actual} came`,
    {
      remedy: "The file was moved or changed since it was chosen: choose it again.",
      details: { name, offset, needed, actual },
      cause,
    },
  );
}
