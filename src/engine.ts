import type {
  ConversationInfo,
  EngineForecastOptions,
  EngineGenerateOptions,
  EngineLoadOptions,
  EngineService,
  ExpertActivity,
  Forecast,
  LayerRouting,
  LoadedModel,
  ModelInfo,
  Progress,
  RouteRequest,
  RoutingChange,
  Stats,
  TokenBatch,
  TokenLogprobs,
  TokenStream,
} from "./api.ts";
import { abortedError, SluiceError } from "./errors.ts";
import type { Gpu } from "./gpu/gpu.ts";
import { Meter } from "./meter.ts";
import { restoreConversation, saveConversation } from "./model/conversations.ts";
import { type ForecastEvents, forecast, positionsNeeded } from "./model/forecast.ts";
import { BackgroundInstall } from "./model/install.ts";
import {
  describeExperts,
  type Loaded,
  loadRunner,
  type ModelOptions,
  type Prepared,
  prepare,
  rememberLearned,
} from "./model/load.ts";
import { moeLayers, type SitePlace, seriesOf } from "./model/plan.ts";
import { planRoutes } from "./model/route_request.ts";
import { requireToken } from "./model/runner.ts";
import type { InstallForm } from "./quant/install.ts";
import type { SourceSpec } from "./source/source.ts";
import type { OpenedModel, StoreService } from "./store/service.ts";

/** A model in use is left this long before what nobody asked for is fetched, unless a token came first. */
const IDLE_MS = 2000;
/** Decoded tokens after which what was learned of the model is kept again. */
const TOKENS_TO_REMEMBER = 64;

/** Keys of the metadata that the page side makes a tokenizer of. */
const VOCABULARY = /^(tokenizer\.|(tokenizer|generation)_config\.json$|chat_template\.jinja$)/;

interface ModelInUse extends Prepared, Loaded {
  readonly id: string;
  readonly background: BackgroundInstall;
}

/** One model on one device: load, generate ids from ids, dispose. Runs wherever there is a GPUDevice. */
export class Engine implements EngineService {
  readonly #store: StoreService;
  readonly #openGpu: () => Promise<Gpu>;
  readonly #tuning: ModelOptions;
  readonly #meter = new Meter();
  #gpu: Gpu | undefined;
  #model: ModelInUse | undefined;
  #modelId: string | undefined;
  #work: AbortController | undefined;
  #idle: ReturnType<typeof setTimeout> | undefined;
  /** Decoded since what was learned was last kept. */
  #tokensToRemember = 0;

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
      const { file, ...source } = await this.#open(spec, work.signal);
      const prepared = prepare(file, { ...this.#tuning, ...options });
      const id = await this.#inForm(spec, source.id, prepared.form);
      work.signal.throwIfAborted();
      const loaded = await loadRunner(gpu, this.#store, id, prepared, onProgress, work.signal);
      work.signal.throwIfAborted();
      const { pages } = prepared;
      const bytesTotal = pages.sourceBytes;
      const background = new BackgroundInstall(this.#store, id, pages, loaded.pager, (bytesDone) =>
        onProgress({ phase: "install", bytesDone, bytesTotal }),
      );
      this.#model = { ...prepared, ...loaded, id, background };
      this.#meter.endLoad();
      onProgress({ phase: "ready", bytesDone: bytesTotal, bytesTotal });
      const tokenizerKeys = Object.entries(file.metadata).filter(([key]) => VOCABULARY.test(key));
      return { info: describe(id, prepared, gpu), vocabulary: Object.fromEntries(tokenizerKeys) };
    } catch (error) {
      await this.#release();
      throw causeOf(error, work.signal);
    } finally {
      this.#end(work);
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

  /** The model's id in the form it is installed in, which is open in its place. */
  async #inForm(spec: SourceSpec, id: string, form: InstallForm): Promise<string> {
    if (form === "as-is") return id;
    const formed = await this.#store.open(spec, form);
    this.#modelId = formed.id;
    await this.#store.close(id);
    return formed.id;
  }

  async generate(prompt: readonly number[], options: EngineGenerateOptions): Promise<TokenStream> {
    const model = this.#require(prompt);
    const route = planRoutes(model.plan, options.route);
    const work = this.#begin();
    model.runner.request(route);
    let allowed: Uint32Array | undefined;
    const ids = this.#tokens(model, prompt, options, () => allowed, work.signal);
    return {
      next: async (mask) => {
        try {
          allowed = mask;
          const { value, done } = await ids.next();
          if (done) this.#end(work);
          return done ? undefined : value;
        } catch (error) {
          this.#end(work);
          throw causeOf(error, work.signal);
        }
      },
      stop: async () => {
        await ids.return(undefined);
        this.#end(work);
      },
    };
  }

  async logits(prompt: readonly number[], request: RouteRequest): Promise<Float32Array<ArrayBuffer>> {
    const { plan, runner } = this.#require(prompt);
    const route = planRoutes(plan, request);
    return this.#alone((signal) => {
      runner.request(route);
      return runner.logits(prompt, signal);
    });
  }

  async forecast(points: Float32Array, options: EngineForecastOptions): Promise<Forecast> {
    const model = this.#loaded();
    const { plan, sizes, runner } = model;
    const series = seriesOf(plan);
    if (!series) throw badRequest("this model reads tokens, not a series", "Use `generate` or `chat`.");
    const { heads, embedding } = series;
    const { size } = embedding;
    const route = planRoutes(plan, {});
    const needed = positionsNeeded(heads, requirePoints(points, size), options.steps);
    if (needed > sizes.context) throw tooLong(needed, sizes.context);
    let rounds = 0;
    const events: ForecastEvents = {
      started: (count, reused) => this.#meter.startPrompt(count, reused),
      ended: async (count) => {
        if (rounds++ > 0) this.#meter.decoded(count, this.#counters());
        else {
          this.#meter.firstToken(this.#counters(), (await this.#store.stats()).bytesFetched);
          this.#installSoon(0);
        }
      },
    };
    return this.#alone((signal) => {
      runner.request(route);
      return forecast({ runner, size, heads }, points, options, events, signal);
    });
  }

  async saveConversation(name: string, data: unknown): Promise<ConversationInfo> {
    const model = this.#loaded();
    return this.#alone((signal) => saveConversation(this.#store, model, name, data, signal));
  }

  async restoreConversation(name: string): Promise<unknown> {
    const model = this.#loaded();
    return this.#alone((signal) => restoreConversation(this.#store, model, name, signal));
  }

  async conversations(): Promise<ConversationInfo[]> {
    return this.#store.conversations(this.#loaded().id);
  }

  async removeConversation(name: string): Promise<void> {
    await this.#store.removeConversation(this.#loaded().id, name);
  }

  async stats(): Promise<Stats> {
    const pager = this.#model?.pager;
    return this.#meter.stats(this.#gpu?.counters, await this.#store.stats(), {
      prefetchWaste: pager?.prefetchWaste ?? 0,
      hostBytesPeak: pager?.stream.hostBytesPeak ?? 0,
    });
  }

  async experts(): Promise<ExpertActivity> {
    if (!this.#model) throw noModel();
    const { plan, pager } = this.#model;
    const places = moeLayers(plan).map(({ layer, block }) => ({ layer, block }));
    const { activity, stream } = pager;
    const sites = activity.ask().map((counts, site) => ({
      ...counts,
      ...(places[site] as SitePlace),
      isResident: counts.uses.map((_, expert) => stream.isThere(site, expert)),
      pageless: [...counts.uses.keys()].filter((expert) => !stream.hasPage(site, expert)),
    }));
    return { tokens: activity.tokens, sites };
  }

  async routing(): Promise<readonly LayerRouting[]> {
    return this.#loaded().routing.layers;
  }

  async changeRouting(change: RoutingChange): Promise<readonly LayerRouting[]> {
    const { routing } = this.#loaded();
    routing.change(change);
    return routing.layers;
  }

  async trace(): Promise<string> {
    const pager = this.#model?.pager;
    if (pager?.keepsTrace) return pager.trace();
    throw badRequest("no routes were kept", "Load the model with `experts: { trace: true }`.");
  }

  async install(): Promise<void> {
    await this.#loaded().background.run();
  }

  async abort(): Promise<void> {
    this.#work?.abort(abortedError());
    if (this.#modelId !== undefined) this.#store.abort(this.#modelId);
    this.#model?.pager.stream.abandon();
  }

  async dispose(): Promise<void> {
    this.#model?.background.stop();
    await this.abort();
    await this.#release();
  }

  /**
   * Several batches are submitted ahead, so that the GPU works while ids travel.
   * @param allowed asked when a token of a constrained generation is drawn, which waits for `next`
   */
  async *#tokens(
    { runner, sizes, pager, id }: ModelInUse,
    prompt: readonly number[],
    options: EngineGenerateOptions,
    allowed: () => Uint32Array | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<TokenBatch, undefined> {
    // The last token drawn needs no place in the cache.
    let left = Math.min(options.maxTokens, sizes.context - prompt.length + 1);
    if (left <= 0) return;
    const reused = options.reuse ? runner.cached.reusable(prompt) : 0;
    this.#meter.startPrompt(prompt.length - reused, reused);
    const first = requireToken(
      await runner.prefill(prompt, { ...options, allowed: allowed() }, signal, reused),
    );
    this.#meter.firstToken(this.#counters(), (await this.#store.stats()).bytesFetched);
    this.#installSoon(0);
    if (options.stopTokens.includes(first)) return;
    yield batchOf([first], runner.logprobs);
    left -= 1;

    let position = prompt.length;
    const isStepwise = options.isConstrained || options.topLogprobs !== undefined;
    const inFlight: Promise<readonly number[]>[] = [];
    const launch = () => {
      while (left > 0 && inFlight.length < (isStepwise ? 1 : runner.batchesAhead)) {
        const count = Math.min(isStepwise ? 1 : runner.batchTokens, left);
        const batch = runner.decode(position, count, { ...options, allowed: allowed() });
        // It may fail while the caller still reads the one before it; whoever awaits it is told.
        batch.catch(() => {});
        inFlight.push(batch);
        position += count;
        left -= count;
      }
    };
    try {
      launch();
      for (let batch = inFlight.shift(); batch; batch = inFlight.shift()) {
        const ids = await batch;
        this.#meter.decoded(ids.length, this.#counters());
        signal.throwIfAborted();
        const end = ids.findIndex((id) => options.stopTokens.includes(requireToken(id)));
        if (end === -1 && !isStepwise) launch();
        const kept = end === -1 ? ids : ids.slice(0, end);
        if (kept.length > 0) yield batchOf(kept, runner.logprobs);
        if (end !== -1) return;
        if (isStepwise) launch();
      }
    } finally {
      await Promise.allSettled(inFlight);
      this.#tokensToRemember += position - prompt.length;
      if (this.#tokensToRemember >= TOKENS_TO_REMEMBER) {
        this.#tokensToRemember = 0;
        void rememberLearned(this.#store, id, pager).catch(() => {});
      }
    }
  }

  #counters() {
    if (!this.#gpu || !this.#model) throw abortedError();
    return { ...this.#gpu.counters, ...this.#model.pager.counters };
  }

  #begin(): AbortController {
    if (this.#work) {
      throw badRequest("this model is busy", "Wait for the running call to end, or abort it first.");
    }
    this.#work = new AbortController();
    return this.#work;
  }

  #end(work: AbortController): void {
    if (this.#work !== work) return;
    this.#work = undefined;
    this.#installSoon(IDLE_MS);
  }

  /** Runs `work` if nothing else runs. */
  async #alone<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const running = this.#begin();
    try {
      return await work(running.signal);
    } catch (error) {
      throw causeOf(error, running.signal);
    } finally {
      this.#end(running);
    }
  }

  /** Fetches what nobody asked for, unless a call that has no token yet is in the way. */
  #installSoon(delayMs: number): void {
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      if (delayMs === 0 || !this.#work) this.#model?.background.run().catch(() => {});
    }, delayMs);
  }

  #loaded(): ModelInUse {
    if (this.#model) return this.#model;
    throw noModel();
  }

  /** The model, after checking that it can take `prompt`. */
  #require(prompt: readonly number[]): ModelInUse {
    const model = this.#loaded();
    const { plan, sizes } = model;
    if (seriesOf(plan)) throw badRequest("this model reads a series, not tokens", "Use `forecast`.");
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
    return model;
  }

  async #release(): Promise<void> {
    clearTimeout(this.#idle);
    const model = this.#model;
    this.#model = undefined;
    if (model && this.#tokensToRemember > 0) {
      await rememberLearned(this.#store, model.id, model.pager).catch(() => {});
    }
    this.#gpu?.destroy();
    this.#gpu = undefined;
    const id = this.#modelId;
    this.#modelId = undefined;
    if (id !== undefined) await this.#store.close(id);
  }
}

function describe(id: string, { plan, sizes, form }: Prepared, gpu: Gpu): ModelInfo {
  const { architecture, name, vocabulary, layers } = plan;
  const series = seriesOf(plan);
  return {
    id,
    architecture,
    name,
    vocabulary: series ? 0 : vocabulary,
    contextTokens: sizes.context,
    layers: layers.length,
    ...describeExperts(plan),
    install: form,
    adapter: gpu.adapterName,
    ...(series && {
      series: { size: series.embedding.size, horizons: series.heads.map(({ steps }) => steps) },
    }),
  };
}

/** @param logprobs of the only id */
function batchOf(ids: readonly number[], logprobs: TokenLogprobs | undefined): TokenBatch {
  return logprobs ? { ids, logprobs: [logprobs] } : { ids };
}

/** What fails after an abort fails because of it: `dispose` takes the device away from what still runs. */
function causeOf(error: unknown, signal: AbortSignal): unknown {
  return signal.aborted ? signal.reason : error;
}

/** @returns how many there are */
function requirePoints({ length }: Float32Array, size: number): number {
  if (length > 0 && length % size === 0) return length / size;
  const remedy = `Give at least one point, of ${size} number${size > 1 ? "s each" : ""}.`;
  throw badRequest(`the series has ${length} numbers`, remedy);
}

function tooLong(needed: number, context: number): SluiceError {
  return new SluiceError("context-full", `the series and its forecast take ${needed} points of context`, {
    remedy: `Give fewer points or steps, ${context} together, or load the model with a larger contextTokens.`,
    details: { points: needed, context },
  });
}

function noModel(): SluiceError {
  return badRequest("no model is loaded", "Call `loadModel` first; a disposed model is gone.");
}

function badRequest(message: string, remedy: string): SluiceError {
  return new SluiceError("bad-request", message, { remedy });
}
