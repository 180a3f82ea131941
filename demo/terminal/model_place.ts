import { createHash } from "node:crypto";
import { readdirSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { Mounts } from "../../scripts/serve_files.ts";
import { SluiceError } from "../../src/errors.ts";
import { type HubOptions, isHubName } from "../../src/source/hub_name.ts";

/** Where the bytes of a model are, seen from this process. A folder is one in the layout of Hugging Face. */
export type ModelPlace =
  | LocalPlace
  | { readonly kind: "url"; readonly url: URL }
  | { readonly kind: "hub"; readonly name: string };

export interface LocalPlace {
  readonly kind: "file" | "folder";
  readonly path: string;
  readonly version: string;
}

const embedded = fileURLToPath(new URL("../public/tiny-stories-moe-Q4_K_M.gguf", import.meta.url));

/** npm changes to the package's folder; a relative path means the folder of whoever called it. */
const isOwnScript = ["generate", "forecast", "bench", "tokenize"].includes(
  process.env.npm_lifecycle_event ?? "",
);
export const callerFolder = (isOwnScript ? process.env.INIT_CWD : undefined) ?? process.cwd();

const REMEDY =
  "Give --model a GGUF file, a folder with config.json and safetensors files, the address of either, or hf:owner/repo.";

/** @throws SluiceError `bad-request` for a file or folder that is not there, or holds no model. */
export function findModel(model: string | undefined): ModelPlace {
  if (isHubName(model)) return { kind: "hub", name: model };
  if (model !== undefined && /^https?:/i.test(model)) return remotePlace(model);
  const path = resolve(callerFolder, localPath(model ?? embedded));
  const found = statSync(path, { throwIfNoEntry: false });
  if (found?.isDirectory()) return folderPlace(path);
  // Part of a folder in the layout of Hugging Face.
  if (found?.isFile() && /^config\.json$|\.safetensors(\.index\.json)?$/i.test(basename(path))) {
    return folderPlace(dirname(path));
  }
  if (found?.isFile()) return { kind: "file", path, version: versionOf([path]) };
  const problem = found === undefined ? `no such file: ${path}` : `${path} is not a file`;
  throw new SluiceError("bad-request", problem, { remedy: REMEDY });
}

/** What a hub is asked with; the token comes from the environment, where lists of processes do not show it. */
export function hubOptions(endpoint?: string): HubOptions {
  const token = process.env.HF_TOKEN;
  return { ...(endpoint === undefined ? {} : { endpoint }), ...(token ? { token } : {}) };
}

/** The model in a folder: what `config.json` describes, or its one GGUF file. */
function folderPlace(path: string): ModelPlace {
  const names = modelFilesIn(path);
  if (names.includes("config.json")) {
    return { kind: "folder", path, version: versionOf(names.map((name) => join(path, name))) };
  }
  const models = names.filter((name) => /\.gguf$/i.test(name) && !LATER_PART.test(name));
  const [model] = models;
  if (model !== undefined && models.length === 1) {
    return { kind: "file", path: join(path, model), version: versionOf([join(path, model)]) };
  }
  const problem = `${path} has no config.json, and ${models.length} GGUF models`;
  throw new SluiceError("bad-request", problem, { remedy: REMEDY });
}

const PART = /-(\d{5})-of-(\d{5}\.gguf)$/i;
const LATER_PART = /-(?!00001)\d{5}-of-\d{5}\.gguf$/i;

/** Paths of the files that a local model may be made of, itself first. */
export function modelFiles({ kind, path }: LocalPlace): string[] {
  if (kind === "folder") return modelFilesIn(path).map((name) => join(path, name));
  const name = basename(path);
  const [, , ending] = PART.exec(name) ?? [];
  if (ending === undefined) return [path];
  const stem = name.replace(PART, "");
  const parts = modelFilesIn(dirname(path)).filter(
    (other) => other.replace(PART, "") === stem && other.endsWith(ending),
  );
  return parts.map((part) => join(dirname(path), part));
}

function modelFilesIn(folder: string): string[] {
  const names = readdirSync(folder).filter((name) =>
    /\.(gguf|safetensors)$|^[^.].*\.(json|jinja)$/i.test(name),
  );
  return names.sort();
}

/** Changes when one of the files does. */
function versionOf(paths: readonly string[]): string {
  const stats = paths.map((path) => statSync(path));
  const [first] = stats;
  if (first && stats.length === 1) return `${first.size}-${Math.trunc(first.mtimeMs)}`;
  const all = stats.map(({ size, mtimeMs }, i) => [basename(paths[i] as string), size, mtimeMs]);
  return createHash("sha256").update(JSON.stringify(all)).digest("hex").slice(0, 16);
}

function remotePlace(address: string): ModelPlace {
  if (URL.canParse(address)) return { kind: "url", url: new URL(address) };
  throw new SluiceError("bad-request", `${address} is not an address`, {
    remedy: REMEDY,
  });
}

function localPath(model: string): string {
  return /^file:\/\//i.test(model) ? fileURLToPath(model) : model;
}

/** How the page server offers a model, and what the page loads it by. */
export interface ServedModel {
  /** A path of the server, or the name of a hub, which the page asks itself: hubs allow other origins. */
  readonly path: string;
  readonly mounts: Mounts;
  readonly remote?: URL;
}

/** The folder is offered rather than the file, so that the parts of a split model find each other. */
export function serveModel(place: ModelPlace): ServedModel {
  if (place.kind === "hub") return { path: place.name, mounts: {} };
  if (place.kind !== "url") {
    const [name, folder] =
      place.kind === "file"
        ? [encodeURIComponent(basename(place.path)), dirname(place.path)]
        : ["", place.path];
    // A file that changed is another model to a store that goes by address.
    return { path: `/model/${name}?version=${place.version}`, mounts: { "/model/": folder } };
  }
  const { pathname, search } = place.url;
  const name = pathname.slice(pathname.lastIndexOf("/") + 1);
  return { path: `/remote/${name}${search}`, mounts: {}, remote: new URL(".", place.url) };
}
