import { SluiceError } from "../errors.ts";
import type { SourceSpec } from "./source.ts";

/** What `loadModel` accepts: an address, a file the user chose, or a handle from a picker or OPFS. */
export type ModelSource = string | URL | Blob | FileSystemFileHandle;

/** `source` as plain data for a worker; relative addresses are taken from the page. */
export function specOf(source: ModelSource): SourceSpec {
  if (typeof source === "string" || source instanceof URL) {
    const base = globalThis.location?.href;
    const url = parse(source, base);
    if (url && /^https?:$/.test(url.protocol)) return { kind: "url", url: url.href };
    throw new SluiceError("bad-request", `${source} is not an address a model can be fetched from`, {
      remedy: "Give an http or https URL, a File, or a file handle.",
    });
  }
  if (source instanceof Blob) {
    return { kind: "blob", blob: source, name: source instanceof File ? source.name : "blob" };
  }
  return { kind: "file", handle: source };
}

function parse(source: string | URL, base: string | undefined): URL | undefined {
  try {
    return new URL(source, base);
  } catch {
    return undefined;
  }
}
