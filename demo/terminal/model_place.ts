import { statSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { Mounts } from "../../scripts/serve_files.ts";
import { SluiceError } from "../../src/errors.ts";

/** Where the bytes of a model are, seen from this process. */
export type ModelPlace =
  | { readonly kind: "file"; readonly path: string; readonly version: string }
  | { readonly kind: "url"; readonly url: URL };

const embedded = fileURLToPath(new URL("../public/tiny-stories-moe-Q4_K_M.gguf", import.meta.url));

/** npm changes to the package's folder; a relative path means the folder of whoever called it. */
const isOwnScript = ["generate", "bench"].includes(process.env.npm_lifecycle_event ?? "");
export const callerFolder = (isOwnScript ? process.env.INIT_CWD : undefined) ?? process.cwd();

/** @throws SluiceError `bad-request` for a file that is not there. */
export function findModel(model: string | undefined): ModelPlace {
  if (model !== undefined && /^https?:/i.test(model)) return remotePlace(model);
  const path = resolve(callerFolder, localPath(model ?? embedded));
  const file = statSync(path, { throwIfNoEntry: false });
  if (file?.isFile()) return { kind: "file", path, version: `${file.size}-${Math.trunc(file.mtimeMs)}` };
  const problem = file === undefined ? `no such file: ${path}` : `${path} is not a file`;
  throw new SluiceError("bad-request", problem, {
    remedy: "Give --model the path of a GGUF file, or its http or https address.",
  });
}

function remotePlace(address: string): ModelPlace {
  if (URL.canParse(address)) return { kind: "url", url: new URL(address) };
  throw new SluiceError("bad-request", `${address} is not an address`, {
    remedy: "Give --model the path of a GGUF file, or its http or https address.",
  });
}

function localPath(model: string): string {
  return /^file:\/\//i.test(model) ? fileURLToPath(model) : model;
}

/** How the page server offers a model, and the path under which the page finds it. */
export interface ServedModel {
  readonly path: string;
  readonly mounts: Mounts;
  readonly remote?: URL;
}

/** The folder is offered rather than the file, so that the parts of a split model find each other. */
export function serveModel(place: ModelPlace): ServedModel {
  if (place.kind === "file") {
    const name = encodeURIComponent(basename(place.path));
    // A file that changed is another model to a store that goes by address.
    return { path: `/model/${name}?version=${place.version}`, mounts: { "/model/": dirname(place.path) } };
  }
  const { pathname, search } = place.url;
  const name = pathname.slice(pathname.lastIndexOf("/") + 1);
  return { path: `/remote/${name}${search}`, mounts: {}, remote: new URL(".", place.url) };
}
