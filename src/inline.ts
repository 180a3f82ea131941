import type { LoadOptions } from "./api.ts";
import { Engine } from "./engine.ts";
import { abortedError, throwIfAborted } from "./errors.ts";
import { Gpu, type GpuOptions } from "./gpu/gpu.ts";
import { Model } from "./language_model.ts";
import type { ModelOptions } from "./model/load.ts";
import { type ModelSource, specOf } from "./source/spec.ts";
import { ModelStore } from "./store/model_store.ts";
import { openBackend } from "./store/serve.ts";

export interface InlineOptions extends LoadOptions {
  /** The adapter to run on; under Node, Dawn's. */
  readonly adapter: GPUAdapter;
  readonly gpu?: GpuOptions;
  readonly tuning?: ModelOptions;
}

/** As `loadModel`, with engine and store in this thread: under Node, in tests. Pages are kept in memory. */
export async function loadModelInline(source: ModelSource, options: InlineOptions): Promise<Model> {
  const { onProgress, signal, contextTokens, memory, adapter, gpu, tuning } = options;
  throwIfAborted(signal);
  const store = new ModelStore(await openBackend(options.store ?? "memory"));
  const engine = new Engine(store, () => Gpu.open(adapter, gpu), tuning);
  const abort = () => void engine.abort();
  signal?.addEventListener("abort", abort);
  try {
    const settings = { contextTokens, gpuBytes: memory?.gpu };
    return new Model(
      engine,
      await engine.load(specOf(source), settings, (progress) => onProgress?.(progress)),
    );
  } catch (error) {
    throw signal?.aborted ? abortedError(error) : error;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}
