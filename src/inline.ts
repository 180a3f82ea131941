import type { LoadOptions } from "./api.ts";
import { Engine } from "./engine.ts";
import { throwIfAborted } from "./errors.ts";
import { Gpu, type GpuOptions } from "./gpu/gpu.ts";
import { loadOn, type Model } from "./language_model.ts";
import type { ModelOptions } from "./model/load.ts";
import type { ModelSource } from "./source/spec.ts";
import { storeShare } from "./store/limits.ts";
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
  throwIfAborted(options.signal);
  const store = new ModelStore(
    await openBackend(options.store ?? "memory"),
    storeShare(options.memory?.host),
  );
  return loadOn(
    new Engine(store, () => Gpu.open(options.adapter, options.gpu), options.tuning),
    source,
    options,
  );
}
