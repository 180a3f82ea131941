import type {
  CapacityPlan,
  EngineGenerateOptions,
  EngineService,
  ExpertActivity,
  ExpertOptions,
  Forecast,
  ForecastOptions,
  GenerateOptions,
  LoadedModel,
  LoadOptions,
  MemoryBudget,
  ModelInfo,
  PolicyName,
  PredictorName,
  RouteRequest,
  Stats,
} from "./api.ts";
import type { Constrain, TextModel } from "./chat/answer.ts";
import { RANGES, requireBiases, requireExperts, requireInRange } from "./chat/check.ts";
import type { OpenAiShapes } from "./chat/open_ai.ts";
import type { ChatCompletions, Completions } from "./chat/shapes.ts";
import { Conversations } from "./conversations.ts";
import { abortedError, fetchPart, SluiceError, throwIfAborted } from "./errors.ts";
import type { InstallForm } from "./quant/install.ts";
import { Routing } from "./routing.ts";
import type { ModelSource } from "./source/spec.ts";
import { settle } from "./store/settle.ts";
import { tokenizerFromFile } from "./text/from_file.ts";
import type { Grammars } from "./text/grammar.ts";
import type { Tokenizer } from "./text/tokenizer.ts";

/** `experts/` has what these stand for, which the page does not carry. */
const POLICIES: Readonly<Record<PolicyName, true>> = {
  lru: true,
  lfu: true,
  weighted: true,
  arc: true,
  farthest: true,
};
const PREDICTORS: Readonly<Record<PredictorName, true>> = {
  none: true,
  "last-token": true,
  "next-gate": true,
  path: true,
  "next-gate+path": true,
  known: true,
};

const CAPACITIES: Readonly<Record<CapacityPlan, true>> = {
  even: true,
  "shallow-first": true,
  measured: true,
};

const FORMS: Readonly<Record<InstallForm, true>> = { "as-is": true, q8_0: true, q4_0: true };

/** A loaded model: text in, text out. Made by `loadModel`. */
export class Model {
  readonly info: ModelInfo;
  /** Absent where the file has no vocabulary that can be used; ids work all the same. */
  readonly tokenizer: Tokenizer | undefined;
  /** Answers to chats, in the shapes that OpenAI published. */
  readonly chat: { readonly completions: ChatCompletions };
  /** Continued texts, in the shapes that OpenAI published. */
  readonly completions: Completions;
  /** What it has read and written, kept for later visits. */
  readonly conversations: Conversations;
  /** How it chooses experts, read and changed while it runs. */
  readonly routing: Routing;
  readonly #noTokenizer: unknown;
  readonly #engine: EngineService;
  #grammars: Grammars | undefined;

  constructor(engine: EngineService, { info, vocabulary }: LoadedModel) {
    this.#engine = engine;
    this.conversations = new Conversations(engine);
    this.routing = new Routing(engine);
    this.info = info;
    try {
      this.tokenizer = tokenizerFromFile(vocabulary);
    } catch (error) {
      this.#noTokenizer = error;
    }
    const text: TextModel = {
      info,
      tokenizer: () => this.#requireTokenizer(),
      generateTokens: (prompt, options) => this.generateTokens(prompt, options),
      stats: () => this.stats(),
    };
    const constrain: Constrain = async (grammar) => {
      const { Grammars } = await fetchPart("reads grammars", import("./text/grammar.ts"));
      this.#grammars ??= new Grammars(this.#requireTokenizer(), info.vocabulary);
      return this.#grammars.prepare(grammar);
    };
    let shapes: OpenAiShapes | undefined;
    const answers = async () => {
      if (info.series) throw noTokens(info.name);
      const { openAiShapes } = await fetchPart("answers chats", import("./chat/open_ai.ts"));
      shapes ??= openAiShapes(text, vocabulary, constrain);
      return shapes;
    };
    const create = (async (request, options) =>
      (await answers()).chat.create(request, options)) as ChatCompletions["create"];
    this.chat = { completions: { create } };
    this.completions = {
      create: (async (request, options) =>
        (await answers()).text.create(request, options)) as Completions["create"],
    };
  }

  /**
   * Continues `prompt`, piece by piece. Stops at an end-of-sequence token, after `maxTokens`, or when the
   * context is full. Leaving the loop early ends the generation.
   * @throws SluiceError `bad-request`, `context-full`, `aborted`, `device-lost`, `unsupported-model` (no vocabulary)
   */
  async *generate(prompt: string, options: GenerateOptions = {}): AsyncGenerator<string, void, undefined> {
    const tokenizer = this.#requireTokenizer();
    const text = tokenizer.stream({ continuation: true });
    for await (const id of this.generateTokens(tokenizer.encode(prompt), options)) {
      const piece = text.push(id);
      if (piece !== "") yield piece;
    }
    const rest = text.flush();
    if (rest !== "") yield rest;
  }

  /** As `generate`, from ids to ids. */
  async *generateTokens(
    prompt: readonly number[],
    options: GenerateOptions = {},
  ): AsyncGenerator<number, void, undefined> {
    const { signal, constraint, onLogprobs } = options;
    const stopTokens = this.tokenizer?.stopTokens ?? [];
    const settings = engineOptions(options, this.info.vocabulary, stopTokens);
    throwIfAborted(signal);
    const abort = () => void this.#engine.abort();
    signal?.addEventListener("abort", abort);
    try {
      const stream = await this.#engine.generate(prompt, settings);
      try {
        const next = () => stream.next(constraint?.allowed());
        for (let batch = await next(); batch; batch = await next()) {
          for (const [i, id] of batch.ids.entries()) {
            throwIfAborted(signal);
            constraint?.accept(id);
            if (settings.isConstrained && stopTokens.includes(id)) return;
            const logprobs = batch.logprobs?.[i];
            if (logprobs) onLogprobs?.(logprobs);
            yield id;
          }
        }
      } finally {
        await stream.stop();
      }
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Logits of every position of `prompt`, row-major: [prompt.length, info.vocabulary]. @param route as in `generate` */
  async logits(prompt: readonly number[], route: RouteRequest = {}): Promise<Float32Array> {
    return this.#engine.logits(prompt, routeOf(route));
  }

  /**
   * Says how a series goes on, by a model that forecasts (`info.series`). Each round takes the head that says the most points
   * not above the steps still wanted, puts all of them behind the series, and the next round reads them too; the end is cut.
   * @param series its points in order, each `info.series.size` numbers
   * @throws SluiceError `bad-request` (no such model, no finite numbers), `context-full`, `aborted`, `device-lost`
   */
  async forecast(series: ArrayLike<number>, options: ForecastOptions): Promise<Forecast> {
    const { signal } = options;
    throwIfAborted(signal);
    const { readSeries } = await fetchPart("reads series", import("./series.ts"));
    const { points, settings, undo } = readSeries(series, options, this.info);
    const abort = () => void this.#engine.abort();
    signal?.addEventListener("abort", abort);
    try {
      throwIfAborted(signal);
      return undo(await this.#engine.forecast(points, settings));
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** What the load and the latest generation measured. */
  stats(): Promise<Stats> {
    return this.#engine.stats();
  }

  /**
   * Which experts work. The first call begins to count; while calls go on, and for 64 tokens behind the last, each
   * decoded token is read back by itself, which costs speed.
   */
  experts(): Promise<ExpertActivity> {
    return this.#engine.experts();
  }

  /**
   * The route of every token since the load, as text for a file that `npm run replay` reads.
   * @throws SluiceError `bad-request` unless the model was loaded with `experts: { trace: true }`
   */
  trace(): Promise<string> {
    return this.#engine.trace();
  }

  /**
   * Resolves when the whole model is on disk, and in GPU memory as far as there is room. That goes on by itself
   * once the first token is out; this only waits for it.
   * @throws SluiceError of what the fetching met, `aborted` if the model is disposed of meanwhile
   */
  install(): Promise<void> {
    return this.#engine.install();
  }

  /** Ends what is running and frees the GPU. Weights stay on disk. */
  async dispose(): Promise<void> {
    await this.#grammars?.dispose();
    this.#grammars = undefined;
    await this.#engine.dispose();
  }

  #requireTokenizer(): Tokenizer {
    if (this.tokenizer) return this.tokenizer;
    if (this.info.series) throw noTokens(this.info.name);
    throw new SluiceError("unsupported-model", `${this.info.name} has no vocabulary that can be used`, {
      remedy: "Give token ids to `generateTokens` instead of text.",
      cause: this.#noTokenizer,
    });
  }
}

function noTokens(name: string): SluiceError {
  return new SluiceError("bad-request", `${name} reads a series, not text`, { remedy: "Use `forecast`." });
}

/** Loads `source` on a new engine; one that fails is disposed of. */
export async function loadOn(
  engine: EngineService,
  source: ModelSource,
  options: LoadOptions,
): Promise<Model> {
  const { onProgress, signal, contextTokens, memory, experts, install } = options;
  const abort = () => void engine.abort();
  signal?.addEventListener("abort", abort);
  try {
    checkMemory(memory);
    checkExperts(experts);
    requireName("install", install, FORMS);
    const { spec, install: installed } = await settle(source, options);
    throwIfAborted(signal);
    const settings = { contextTokens, memory, experts, install: install ?? installed };
    // The model installs itself after it is loaded, and goes on to say how far it is.
    const report: typeof onProgress = (progress) => onProgress?.(progress);
    return new Model(engine, await engine.load(spec, settings, report));
  } catch (error) {
    await engine.dispose();
    throw signal?.aborted ? abortedError(error) : error;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

/** @throws SluiceError `bad-request` with the value and what it may be */
function checkMemory({ gpu, gpuExperts, host }: MemoryBudget = {}): void {
  requireBytes("memory.gpu", gpu);
  requireBytes("memory.gpuExperts", gpuExperts, isShare);
  requireBytes("memory.host", host);
}

/** @throws SluiceError `bad-request` with the name and those there are */
function checkExperts({ policy, predictor, capacity }: ExpertOptions = {}): void {
  requireName("experts.policy", policy, POLICIES);
  requireName("experts.predictor", predictor, PREDICTORS);
  requireName("experts.capacity", capacity, CAPACITIES);
}

function isShare(value: unknown): boolean {
  const [, percent] = /^(\d+\.?\d*|\.\d+)%$/.exec(String(value)) ?? [];
  return percent !== undefined && Number(percent) <= 100;
}

function requireBytes(name: string, value: unknown, orShare?: (value: unknown) => boolean): void {
  if (value === undefined || (Number.isFinite(value) && Number(value) >= 0) || orShare?.(value)) return;
  const share = orShare ? ', or a share of all experts from "0%" to "100%"' : "";
  throw new SluiceError("bad-request", `${name} is ${value}`, {
    remedy: `Use a number of bytes of at least 0${share}.`,
    details: { [name]: typeof value === "number" ? value : String(value) },
  });
}

function requireName(what: string, name: string | undefined, names: Readonly<Record<string, true>>): void {
  if (name === undefined || Object.hasOwn(names, name)) return;
  throw new SluiceError("bad-request", `${what} is ${name}`, {
    remedy: `Use one of ${Object.keys(names).join(", ")}.`,
    details: { [what]: String(name) },
  });
}

/** Fills in defaults. @throws SluiceError `bad-request` with the value and its range */
function engineOptions(
  options: GenerateOptions,
  vocabulary: number,
  stopTokens: readonly number[],
): EngineGenerateOptions {
  const number = (name: keyof typeof RANGES & keyof GenerateOptions, otherwise: number) =>
    requireInRange(name, options[name] === undefined ? otherwise : options[name], RANGES[name]);
  // A constraint is told end tokens too, so it is this side that ends there.
  const isConstrained = options.constraint !== undefined;
  return {
    temperature: number("temperature", 0),
    topK: number("topK", 0),
    topP: number("topP", 1),
    minP: number("minP", 0),
    frequencyPenalty: number("frequencyPenalty", 0),
    presencePenalty: number("presencePenalty", 0),
    repetitionPenalty: number("repetitionPenalty", 1),
    logitBias: requireBiases("logitBias", options.logitBias ?? {}, vocabulary),
    seed: number("seed", Math.floor(Math.random() * 2 ** 32)),
    maxTokens: number("maxTokens", Number.MAX_SAFE_INTEGER),
    reuse: options.reuse ?? true,
    isConstrained,
    topLogprobs: options.onLogprobs && number("topLogprobs", 0),
    stopTokens: isConstrained ? [] : stopTokens,
    route: routeOf(options),
  };
}

/** The engine knows what of it the model asks for. @throws SluiceError `bad-request` for what no model takes */
function routeOf({ task, experts, routeSeed }: RouteRequest): RouteRequest {
  return {
    ...(task !== undefined && { task: requireInRange("task", task, RANGES.task) }),
    ...(experts !== undefined && { experts: requireExperts("experts", experts) }),
    ...(routeSeed !== undefined && { routeSeed: requireInRange("routeSeed", routeSeed, RANGES.routeSeed) }),
  };
}
