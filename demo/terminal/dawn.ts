import { existsSync, openAsBlob } from "node:fs";
import { stat, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import process from "node:process";
import { SluiceError } from "../../src/errors.ts";
import type { Model } from "../../src/index.ts";
import { loadModelInline } from "../../src/inline.ts";
import { type AnyJob, type JobLoad, type ResultOf, runJob } from "../job.ts";
import { type LocalPlace, type ModelPlace, modelFiles } from "./model_place.ts";

/** Mesa's software Vulkan, for a machine without a GPU. */
const LLVMPIPE = "/usr/share/vulkan/icd.d/lvp_icd.json";

export interface DawnOptions {
  readonly place: ModelPlace;
  readonly logitsFile?: string | undefined;
  readonly traceFile?: string | undefined;
  readonly onText: (piece: string) => void;
}

/** Dawn frees what its instance owns when the instance is collected, in use or not. */
const keptAlive: unknown[] = [];

/** Runs `job` in this process, on the adapter that Dawn for Node finds. */
export async function runInNode<J extends AnyJob>(options: DawnOptions, job: J): Promise<ResultOf<J>> {
  return runJob(() => loadInNode(options.place, job.load), job, {
    onText: options.onText,
    onLogits: async (logits) => {
      if (options.logitsFile !== undefined) await writeFile(options.logitsFile, logits);
    },
    onTrace: async (trace) => {
      if (options.traceFile !== undefined) await writeFile(options.traceFile, trace);
    },
  });
}

/** Node has no IndexedDB and no OPFS, so pages are kept in memory whatever `load` says. */
export async function loadInNode(place: ModelPlace, load: JobLoad = {}): Promise<Model> {
  const options = { ...load, adapter: await requestAdapter(), store: "memory" } as const;
  if (place.kind === "url") return loadModelInline(place.url, options);
  if (place.kind === "hub") return loadModelInline(place.name, options);
  return loadModelInline(await openFiles(place), options);
}

/** The files of a model, none of them read yet. */
export function openFiles(place: LocalPlace): Promise<File[]> {
  return Promise.all(
    modelFiles(place).map(async (path) => {
      const { mtimeMs } = await stat(path);
      return new File([await openAsBlob(path)], basename(path), { lastModified: Math.trunc(mtimeMs) });
    }),
  );
}

/** @throws SluiceError `no-webgpu` where neither a GPU nor a software adapter is found. */
export async function requestAdapter(): Promise<GPUAdapter> {
  const { create, globals } = await loadDawn();
  Object.assign(globalThis, globals);
  const isChosen = process.env.VK_DRIVER_FILES ?? process.env.VK_ICD_FILENAMES;
  let adapter = await firstAdapter(create);
  if (adapter === null && isChosen === undefined && existsSync(LLVMPIPE)) {
    process.env.VK_DRIVER_FILES = LLVMPIPE;
    process.env.VK_ICD_FILENAMES = LLVMPIPE;
    adapter = await firstAdapter(create);
  }
  if (adapter !== null) return adapter;
  throw new SluiceError("no-webgpu", "Dawn found no Vulkan adapter on this machine", {
    remedy:
      "Install a GPU driver or Mesa's software Vulkan (mesa-vulkan-drivers), or use --backend chromium.",
  });
}

type Dawn = typeof import("webgpu");

/** The binding is a native module, and there is none for some platforms. */
async function loadDawn(): Promise<Dawn> {
  try {
    return await import("webgpu");
  } catch (cause) {
    throw new SluiceError("no-webgpu", `Dawn for Node does not load on ${process.platform}-${process.arch}`, {
      remedy: "Use --backend chromium.",
      cause,
    });
  }
}

function firstAdapter(create: Dawn["create"]): Promise<GPUAdapter | null> {
  const gpu = create(process.platform === "linux" ? ["backend=vulkan"] : []);
  keptAlive.push(gpu);
  return gpu.requestAdapter({ powerPreference: "high-performance" });
}
