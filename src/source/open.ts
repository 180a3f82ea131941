import { SluiceError, throwIfAborted } from "../errors.ts";
import { BlobSource } from "./blob.ts";
import { HttpSource } from "./http.ts";
import type { Source, SourceSpec } from "./source.ts";

const MARK_BYTES = 64 * 2 ** 10;

/**
 * Opens a model file for random access.
 * @throws SluiceError `network`, `bad-request` for an address that is none, `bad-model-file` for a file that
 * cannot be read, `aborted`.
 */
export async function openSource(spec: SourceSpec, signal?: AbortSignal): Promise<Source> {
  throwIfAborted(signal);
  const id = await sourceId(spec);
  switch (spec.kind) {
    case "url":
      return HttpSource.open(id, signal);
    case "blob":
      return new BlobSource(id, spec.name, spec.blob);
    case "file": {
      const file = await fileOf(spec.handle);
      return new BlobSource(id, file.name, file);
    }
  }
}

/**
 * What `openSource(spec)` will have as `id`, without any network access: an absolute URL as it was given, or a
 * file's name, size and modification time. A Blob that is no File has no time; its first and last bytes tell it
 * from others of its size.
 */
export async function sourceId(spec: SourceSpec): Promise<string> {
  switch (spec.kind) {
    case "url":
      return absolute(spec.url);
    case "blob": {
      const { name, blob } = spec;
      const mark = blob instanceof File ? blob.lastModified : await endsOf(blob);
      return fileId(name, blob.size, mark);
    }
    case "file": {
      const file = await fileOf(spec.handle);
      return fileId(file.name, file.size, file.lastModified);
    }
  }
}

function fileId(name: string, size: number, mark: number | string): string {
  return `file:${name}:${size}:${mark}`;
}

/** A hash of the first and last bytes. */
async function endsOf(blob: Blob): Promise<string> {
  const ends = new Blob([blob.slice(0, MARK_BYTES), blob.slice(Math.max(0, blob.size - MARK_BYTES))]);
  const digest = await crypto.subtle.digest("SHA-256", await ends.arrayBuffer());
  return Array.from(new Uint8Array(digest, 0, 8), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function fileOf(handle: FileSystemFileHandle): Promise<File> {
  try {
    return await handle.getFile();
  } catch (cause) {
    throw new SluiceError("bad-model-file", `${handle.name} could not be opened: ${String(cause)}`, {
      remedy: "The file was moved, or this page may no longer read it: choose it again.",
      details: { name: handle.name },
      cause,
    });
  }
}

function absolute(url: string): string {
  if (URL.canParse(url)) return url;
  const base = globalThis.location?.href;
  if (base !== undefined && URL.canParse(url, base)) return new URL(url, base).href;
  throw new SluiceError("bad-request", `"${url}" is not an address`, {
    remedy: "Give an absolute URL: a worker does not know the page's address.",
    details: { url },
  });
}
