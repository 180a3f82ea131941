import { type ProxyMarked, proxy, type Remote, releaseProxy, wrap } from "comlink";
import type {
  EngineForecastOptions,
  EngineRequest,
  EngineService,
  LoadOptions,
  Progress,
  RoutingChange,
  TokenStream,
} from "./api.ts";
import { abortedError, fetchPart, SluiceError, throwIfAborted } from "./errors.ts";
import { loadOn, type Model } from "./language_model.ts";
import type { ModelSource } from "./source/spec.ts";
import type { InstalledModel, StorageUse } from "./store/installed.ts";
import { askToPersist } from "./store/persist.ts";
import type { RemovalRequest, RemovalService, StoreKind, StoreRequest } from "./store/serve.ts";
import { registerWire } from "./wire.ts";

/**
 * Loads a model: reads its header, brings its weights to the GPU and keeps them on disk, so that a second
 * load needs no network. The engine and the store run in workers of their own.
 * @param source an http(s) address of a file or folder, `hf:owner/repo[/file-or-folder][@revision]`, an id that `listModels`
 * gave, a File or Blob, several Files, or the handle of a file or folder
 * @throws SluiceError `no-webgpu`, `limits-too-low`, `out-of-memory`, `bad-model-file`, `unsupported-model`,
 * `network`, `storage-corrupt`, `bad-request`, `aborted`
 */
export async function loadModel(source: ModelSource, options: LoadOptions = {}): Promise<Model> {
  const { default: SluiceWorker } = await importWorker();
  throwIfAborted(options.signal);
  const { store = "auto" } = options;
  if (store !== "memory") void askToPersist();
  return loadOn(new EngineClient(SluiceWorker, store, options.memory?.host), source, options);
}

/** The models on this device's disk, whole or in part, the one loaded last first. Starts nothing and asks no network. */
export async function listModels(): Promise<InstalledModel[]> {
  return (await importInstalled()).listInstalled();
}

/**
 * Removes a model from this device's disk and gives back its room.
 * @param id as `listModels` gave it
 * @throws SluiceError `bad-request` for a model that is open in this or another tab, or is not installed
 */
export async function removeModel(id: string): Promise<void> {
  registerWire();
  const { default: SluiceWorker } = await importWorker();
  const worker = new SluiceWorker({ name: "sluice removal" });
  const { port1, port2 } = new MessageChannel();
  const remote = wrap<RemovalService>(port2);
  try {
    const failed = new Promise<never>((_, reject) => {
      worker.addEventListener("error", (event) => reject(workerFailure(event)));
    });
    const request: RemovalRequest = { port: port1, kind: "removal" };
    worker.postMessage(request, [port1]);
    await Promise.race([remote.remove(id), failed]);
  } finally {
    remote[releaseProxy]();
    worker.terminate();
  }
}

/** What installed models take on disk, and how much the browser says there may be. */
export async function storageUse(): Promise<StorageUse> {
  return (await importInstalled()).storageInUse();
}

/** Most of the library, as text: a page that has not loaded a model yet need not wait for it. */
function importWorker() {
  return fetchPart("runs models", import("../workers/sluice.worker.ts?worker&inline"));
}

function importInstalled() {
  return fetchPart("lists models", import("./store/installed.ts"));
}

type WorkerConstructor = new (options: WorkerOptions) => Worker;

/** The engine in its worker, with a store in another and a port between the two. */
class EngineClient implements EngineService {
  readonly #workers: readonly Worker[];
  readonly #remote: Remote<EngineService>;
  /** Reject the calls that wait for an answer. */
  readonly #waiting = new Set<(reason: SluiceError) => void>();
  #failure: SluiceError | undefined;
  #isDisposed = false;

  constructor(SluiceWorker: WorkerConstructor, kind: StoreKind, hostBytes: number | undefined) {
    registerWire();
    const engine = new SluiceWorker({ name: "sluice engine" });
    const store = new SluiceWorker({ name: "sluice store" });
    this.#workers = [engine, store];
    for (const worker of this.#workers) {
      worker.addEventListener("error", (event) => {
        this.#failure ??= workerFailure(event);
        this.#giveUp(this.#failure);
      });
    }
    const toStore = new MessageChannel();
    const toEngine = new MessageChannel();
    const toServe: StoreRequest = { port: toStore.port1, kind, hostBytes };
    store.postMessage(toServe, [toStore.port1]);
    const request: EngineRequest = { port: toEngine.port1, store: toStore.port2 };
    engine.postMessage(request, [toEngine.port1, toStore.port2]);
    this.#remote = wrap<EngineService>(toEngine.port2);
  }

  load(...[spec, options, onProgress]: Parameters<EngineService["load"]>) {
    // It outlives the answer, because the engine reports what it installs; what is under way when the model goes is late.
    const report = proxy((progress: Progress) => {
      if (!this.#isDisposed) onProgress(progress);
    });
    return this.#call(() => this.#remote.load(spec, options, report));
  }

  async generate(...args: Parameters<EngineService["generate"]>) {
    const stream = await this.#call(() => {
      // The worker answers with a proxy, which comlink's types cannot see through an interface.
      return this.#remote.generate(...args) as Promise<unknown> as Promise<Remote<TokenStream & ProxyMarked>>;
    });
    return {
      next: async (allowed?: Uint32Array) => {
        if (this.#isDisposed) throw abortedError();
        return this.#call(() => stream.next(allowed));
      },
      stop: async () => {
        if (this.#isDisposed) return;
        await this.#call(() => stream.stop());
        stream[releaseProxy]();
      },
    };
  }

  logits(...args: Parameters<EngineService["logits"]>) {
    return this.#call(() => this.#remote.logits(...args));
  }

  forecast(points: Float32Array, options: EngineForecastOptions) {
    return this.#call(() => this.#remote.forecast(points, options));
  }

  stats() {
    return this.#call(() => this.#remote.stats());
  }

  experts() {
    return this.#call(() => this.#remote.experts());
  }

  saveConversation(name: string, data: unknown) {
    return this.#call(() => this.#remote.saveConversation(name, data));
  }

  restoreConversation(name: string) {
    return this.#call(() => this.#remote.restoreConversation(name));
  }

  conversations() {
    return this.#call(() => this.#remote.conversations());
  }

  removeConversation(name: string) {
    return this.#call(() => this.#remote.removeConversation(name));
  }

  routing() {
    return this.#call(() => this.#remote.routing());
  }

  changeRouting(change: RoutingChange) {
    return this.#call(() => this.#remote.changeRouting(change));
  }

  trace() {
    return this.#call(() => this.#remote.trace());
  }

  install() {
    return this.#call(() => this.#remote.install());
  }

  async abort(): Promise<void> {
    if (!this.#isDisposed) await this.#call(() => this.#remote.abort());
  }

  async dispose(): Promise<void> {
    if (this.#isDisposed) return;
    const disposed = this.#call(() => this.#remote.dispose());
    this.#isDisposed = true;
    try {
      await disposed;
    } catch {
      // A worker that died has nothing left to free.
    }
    this.#remote[releaseProxy]();
    for (const worker of this.#workers) worker.terminate();
    this.#giveUp(abortedError());
  }

  /** The answer to `ask`, unless a worker dies or is ended first: then nobody would ever answer. */
  async #call<T>(ask: () => Promise<T>): Promise<T> {
    if (this.#isDisposed) {
      throw new SluiceError("bad-request", "this model was disposed of", {
        remedy: "Call `loadModel` again.",
      });
    }
    if (this.#failure) throw this.#failure;
    return new Promise((resolve, reject) => {
      this.#waiting.add(reject);
      ask()
        .then(resolve, reject)
        .finally(() => this.#waiting.delete(reject));
    });
  }

  #giveUp(reason: SluiceError): void {
    for (const reject of this.#waiting) reject(reason);
  }
}

function workerFailure(event: ErrorEvent): SluiceError {
  const what = event.message || "it could not start";
  return new SluiceError("no-webgpu", `a worker of the engine failed: ${what}`, {
    remedy: "If the page has a Content-Security-Policy, allow `worker-src blob:`; else report this message.",
    cause: event.error,
  });
}
