import type {
  EngineGenerateOptions,
  EngineLoadOptions,
  EngineService,
  LoadedModel,
  ModelInfo,
  Progress,
  Stats,
  TokenStream,
} from "./api.ts";
import { abortedError, SluiceError } from "./errors.ts";
import type { Gpu } from "./gpu/gpu.ts";
import { Meter } from "./meter.ts";
import { describeExperts, loadRunner, type ModelOptions, type Prepared, prepare } from "./model/load.ts";
import { BATCH_TOKENS, type Runner, requireToken } from "./model/runner.ts";
import type { SourceSpec } from "./source/source.ts";
import type { OpenedModel, StoreService } from "./store/service.ts";

interface Loaded extends Prepared {
  readonly runner: Runner;
}

/** One model on one device: load, generate ids from ids, dispose. Runs wherever there is a GPUDevice. */
export class Engine implements EngineService {
  readonly #store: StoreService;
  readonly #openGpu: () => Promise<Gpu>;
  readonly #tuning: ModelOptions;
  readonly #meter = new Meter();
  #gpu: Gpu | undefined;
  #model: Loaded | undefined;
  #modelId: string | undefined;
  #work: AbortController | undefined;

  /** @param tuning defaults for `load`, for tests */
  constructor(store: StoreService, openGpu: () => Promise<Gpu>, tuning: ModelOptions = {}) {
    this.#store = store;
    this.#openGpu = openGpu;
    this.#tuning = tuning;
  }

  async load(
    spec: SourceSpec,
    options: EngineLoadOptions,
    onProgress: (progress: Progress) => void,
  ): Promise<LoadedModel> {
    if (this.#model) throw badRequest("this engine already has a model", "Load another with `loadModel`.");
    const work = this.#begin();
    try {
      this.#meter.startLoad();
      onProgress({ phase: "open", bytesDone: 0, bytesTotal: 0 });
      const gpu = await this.#openGpu();
      this.#gpu = gpu;
      work.signal.throwIfAborted();
      const { id, file } = await this.#open(spec, work.signal);
      const prepared = prepare(file, { ...this.#tuning, ...options });
      const runner = await loadRunner(gpu, this.#store, id, prepared, onProgress, work.signal);
      work.signal.throwIfAborted();
      this.#model = { ...prepared, runner };
      this.#meter.endLoad();
      const bytes = prepared.pages.sourceBytes;
      onProgress({ phase: "ready", bytesDone: bytes, bytesTotal: bytes });
      const tokenizerKeys = Object.entries(file.metadata).filter(([key]) => key.startsWith("tokenizer."));
      return { info: describe(id, prepared, gpu), vocabulary: Object.fromEntries(tokenizerKeys) };
    } catch (error) {
      await this.#release();
      throw causeOf(error, work.signal);
    } finally {
      this.#work = undefined;
    }
  }

  /** Opening has no id to abort it by yet: an abort leaves it behind, to be closed when it is done. */
  async #open(spec: SourceSpec, signal: AbortSignal): Promise<OpenedModel> {
    const opening = this.#store.open(spec);
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
    try {
      const opened = await Promise.race([opening, aborted]);
      this.#modelId = opened.id;
      return opened;
    } catch (error) {
      opening.then(({ id }) => this.#store.close(id)).catch(() => {});
      throw error;
    }
  }

  async generate(prompt: readonly number[], options: EngineGenerateOptions): Promise<TokenStream> {
    const model = this.#require(prompt);
    const work = this.#begin();
    const ids = this.#tokens(model, prompt, options, work.signal);
    const end = () => {
      if (this.#work === work) this.#work = undefined;
    };
    return {
      next: async () => {
        try {
          const { value, done } = await ids.next();
          if (done) end();
          return done ? undefined : value;
        } catch (error) {
          end();
          throw causeOf(error, work.signal);
        }
      },
      stop: async () => {
        await ids.return(undefined);
        end();
      },
    };
  }

  async logits(prompt: readonly number[]): Promise<Float32Array<ArrayBuffer>> {
    const { runner } = this.#require(prompt);
    const work = this.#begin();
    try {
      return await runner.logits(prompt, work.signal);
    } catch (error) {
      throw causeOf(error, work.signal);
    } finally {
      this.#work = undefined;
    }
  }

  async stats(): Promise<Stats> {
    return this.#meter.stats(this.#gpu?.counters, await this.#store.stats());
  }

  async abort(): Promise<void> {
    this.#work?.abort(abortedError());
    if (this.#modelId !== undefined) this.#store.abort(this.#modelId);
  }

  async dispose(): Promise<void> {
    await this.abort();
    await this.#release();
  }

  /** Several batches are submitted ahead, so that the GPU works while ids travel. */
  async *#tokens(
    { runner, sizes }: Loaded,
    prompt: readonly number[],
    options: EngineGenerateOptions,
    signal: AbortSignal,
  ): AsyncGenerator<readonly number[], undefined> {
    // The last token drawn needs no place in the cache.
    let left = Math.min(options.maxTokens, sizes.context - prompt.length + 1);
    if (left <= 0) return;
    this.#meter.startPrompt(prompt.length);
    const first = requireToken(await runner.prefill(prompt, options, signal));
    this.#meter.firstToken(this.#counters(), (await this.#store.stats()).bytesFetched);
    if (options.stopTokens.includes(first)) return;
    yield [first];
    left -= 1;

    let position = prompt.length;
    const inFlight: Promise<readonly number[]>[] = [];
    const launch = () => {
      const count = Math.min(BATCH_TOKENS, left);
      if (count === 0) return;
      const batch = runner.decode(position, count, options);
      // It may fail while the caller still reads the one before it; whoever awaits it is told.
      batch.catch(() => {});
      inFlight.push(batch);
      position += count;
      left -= count;
    };
    try {
      launch();
      launch();
      for (let batch = inFlight.shift(); batch; batch = inFlight.shift()) {
        const ids = await batch;
        this.#meter.decoded(ids.length, this.#counters());
        signal.throwIfAborted();
        const end = ids.findIndex((id) => options.stopTokens.includes(requireToken(id)));
        if (end === -1) launch();
        const kept = end === -1 ? ids : ids.slice(0, end);
        if (kept.length > 0) yield kept;
        if (end !== -1) return;
      }
    } finally {
      await Promise.allSettled(inFlight);
    }
  }

  #counters() {
    if (!this.#gpu) throw abortedError();
    return this.#gpu.counters;
  }

  #begin(): AbortController {
    if (this.#work) {
      throw badRequest("this model is busy", "Wait for the running call to end, or abort it first.");
    }
    this.#work = new AbortController();
    return this.#work;
  }

  /** The model, after checking that it can take `prompt`. */
  #require(prompt: readonly number[]): Loaded {
    if (!this.#model)
      throw badRequest("no model is loaded", "Call `loadModel` first; a disposed model is gone.");
    const { plan, sizes } = this.#model;
    if (prompt.length === 0) throw badRequest("the prompt has no tokens", "Give at least one token.");
    if (prompt.length > sizes.context) {
      throw new SluiceError("context-full", `the prompt has ${prompt.length} tokens`, {
        remedy: `Shorten it to ${sizes.context} tokens, or load the model with a larger contextTokens.`,
        details: { tokens: prompt.length, context: sizes.context },
      });
    }
    const bad = prompt.find((id) => !Number.isInteger(id) || id < 0 || id >= plan.vocabulary);
    if (bad !== undefined) {
      throw badRequest(
        `token ${bad} is not in the vocabulary`,
        `Use whole ids from 0 to ${plan.vocabulary - 1}.`,
      );
    }
    return this.#model;
  }

  async #release(): Promise<void> {
    this.#model = undefined;
    this.#gpu?.destroy();
    this.#gpu = undefined;
    const id = this.#modelId;
    this.#modelId = undefined;
    if (id !== undefined) await this.#store.close(id);
  }
}

function describe(id: string, { plan, sizes }: Prepared, gpu: Gpu): ModelInfo {
  const { architecture, name, vocabulary, layers } = plan;
  return {
    id,
    architecture,
    name,
    vocabulary,
    contextTokens: sizes.context,
    layers: layers.length,
    ...describeExperts(plan),
    adapter: gpu.adapterName,
  };
}

/** What fails after an abort fails because of it: `dispose` takes the device away from what still runs. */
function causeOf(error: unknown, signal: AbortSignal): unknown {
  return signal.aborted ? signal.reason : error;
}

function badRequest(message: string, remedy: string): SluiceError {
  return new SluiceError("bad-request", message, { remedy });
}
