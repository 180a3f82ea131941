/** Types of the public interface that both sides of the worker boundary speak. No logic. */
import type { InstallForm } from "./quant/install.ts";
import type { HubOptions } from "./source/hub_name.ts";
import type { Metadata } from "./source/model_file.ts";
import type { SourceSpec } from "./source/source.ts";

export interface Progress {
  /**
   * `open`: reading the header. `load`: bringing the dense weights to the GPU. `ready`: `loadModel` resolves; experts
   * come when a router asks for them. `install`: the rest is fetched behind what runs, until `bytesDone` is `bytesTotal`.
   */
  readonly phase: "open" | "load" | "ready" | "install";
  readonly bytesDone: number;
  /** Bytes of model file that this model needs in all. 0 while unknown. */
  readonly bytesTotal: number;
}

export interface MemoryBudget {
  /** GPU bytes the model may take, experts and all. Default: what the adapter gives. */
  readonly gpu?: number;
  /**
   * How much of that is for experts: bytes, or a share of all experts such as `"25%"`. One slot per layer is the least.
   * Default: what is left.
   */
  readonly gpuExperts?: number | `${number}%`;
  /** Host bytes for pages: on their way, and those of experts that may be wanted again. Default 256 MiB. */
  readonly host?: number;
}

/** Which expert gives up its slot; see `src/experts/policy`. */
export type PolicyName = "lru" | "lfu" | "weighted" | "arc" | "farthest";
/** What brings experts before they are asked for; see `src/experts/predictor`. */
export type PredictorName = "none" | "last-token" | "next-gate" | "path" | "next-gate+path" | "known";

/** How layers share the slots; see `src/experts/capacity.ts`. */
export type CapacityPlan = "even" | "shallow-first" | "measured";

export interface ExpertOptions {
  /** Default `farthest`. */
  readonly policy?: PolicyName;
  /** Default `next-gate+path`. What is certain is brought whichever it is; `known` brings nothing else. */
  readonly predictor?: PredictorName;
  /** Default `even`. `measured` goes by how often each expert was used in earlier loads. */
  readonly capacity?: CapacityPlan;
  /** Keep the route of every token for `Model.trace`. Costs a readback per token. */
  readonly trace?: boolean;
}

export interface LoadOptions {
  readonly onProgress?: (progress: Progress) => void;
  readonly signal?: AbortSignal;
  readonly memory?: MemoryBudget;
  readonly experts?: ExpertOptions;
  /**
   * What large matrices of floats become on the way to disk: what the file has, or blocks of 32 weights of 8 or 4 bits.
   * Quantised ones stay as they are. Default: safetensors files keep what fits `memory.gpu` as a whole, and are
   * quantised as little as makes them fit; without that budget, and for GGUF files, `as-is`.
   */
  readonly install?: InstallForm;
  /** For `hf:` names: token, mirror, whether to look for a newer version. */
  readonly hub?: HubOptions;
  /** Longest sequence, prompt and output together, in tokens. Default: the model's own, at most 4096. */
  readonly contextTokens?: number;
  /**
   * Where pages are kept: in IndexedDB, in a file of OPFS, in whichever of the two reads faster in this browser
   * (`auto`), or only in memory for this load. What is on disk already is found in either place. Default `auto`.
   */
  readonly store?: "auto" | "indexeddb" | "opfs" | "memory";
}

export interface SamplingOptions {
  /** 0 takes the most likely token (greedy). Default 0. */
  readonly temperature?: number;
  /** Keep only the k most likely tokens; 0 keeps all. Default 0. */
  readonly topK?: number;
  /** Keep the smallest set of most likely tokens whose probabilities sum to at least this. Default 1. */
  readonly topP?: number;
  /** Then drop tokens whose probability is less than this share of the most likely one's; 0 drops none. Default 0. */
  readonly minP?: number;
  /** Taken from a token's logit for each time it was generated; -2 to 2. Default 0. */
  readonly frequencyPenalty?: number;
  /** Taken from a token's logit once it was generated; -2 to 2. Default 0. */
  readonly presencePenalty?: number;
  /**
   * Of tokens in the prompt or generated, positive logits are divided by this and negative ones multiplied, before
   * the other penalties and biases; 1e-6 to 1e6. Default 1.
   */
  readonly repetitionPenalty?: number;
  /** Added to logits, by token id; -100 to 100. Default: none. */
  readonly logitBias?: Readonly<Record<number, number>>;
  /** Same seed, same model, same adapter: same text, but for what `GenerateOptions.reuse` says. Default: a new one for each call. */
  readonly seed?: number;
}

/** Decides which ids may be drawn next; asked on the page's side, between tokens. */
export interface TokenConstraint {
  /**
   * Bit `id % 32` of word `id / 32` is set for ids that may come next; ceil(vocabulary / 32) words, one id at least.
   * Undefined: any id may. It is read before `allowed` is called again.
   */
  allowed(): Uint32Array | undefined;
  /** Told each id that was drawn, end tokens too. */
  accept(id: number): void;
}

export interface TokenLogprob {
  readonly id: number;
  /** Natural logarithm of its probability. */
  readonly logprob: number;
}

/** How likely a drawn token was to the model: as it gives it, before temperature, penalties, biases, cuts and masks. */
export interface TokenLogprobs extends TokenLogprob {
  /** The most likely tokens, most likely first; the drawn one need not be among them. */
  readonly top: readonly TokenLogprob[];
}

/** The most tokens that `TokenLogprobs.top` may have. */
export const MOST_LOGPROBS = 20;

/** What a request says to models whose routers read it; to others it is `bad-request`. */
export interface RouteRequest {
  /** Of models with tasks, which they ask for: from 0 on. */
  readonly task?: number;
  /**
   * Of models that route to experts which the request names, which they ask for: ids for all layers with experts, or a
   * list of ids for each. A layer may be given none.
   */
  readonly experts?: readonly number[] | readonly (readonly number[])[];
  /** Of models that draw their experts: same seed, same experts, however the tokens come. 0 to 2^32 - 1; default 0. */
  readonly routeSeed?: number;
}

export interface GenerateOptions extends SamplingOptions, RouteRequest {
  /** Default: as many as the context has room for. */
  readonly maxTokens?: number;
  /**
   * Tokens at the start of the prompt that the cache still holds, from prompts and answers before, do not run again. What an
   * answer left there came of other sums than what a prompt leaves: on some adapters they differ in their last bits, so that
   * a draw may then depend on what the model was asked before. false runs the whole prompt. Default true.
   */
  readonly reuse?: boolean;
  /** Draws only what it allows. Tokens then come one at a time, each waiting for the one before it. */
  readonly constraint?: TokenConstraint;
  /** Told of each token before it is given out. Tokens then come one at a time, each waiting for the one before it. */
  readonly onLogprobs?: (token: TokenLogprobs) => void;
  /** How many of the most likely tokens `onLogprobs` is told of, 0 to 20. Default 0. */
  readonly topLogprobs?: number;
  readonly signal?: AbortSignal;
}

export interface ForecastOptions {
  /** Points to say; 0 gives none. */
  readonly steps: number;
  /**
   * The model reads each series less its mean, over its standard deviation (of a sample, and 1 where there is none), and
   * what it gives is taken back. false: it reads the numbers as they are. Default false, as the published `generate`.
   */
  readonly standardise?: boolean;
  /** Give what every head says behind every point of the series, too. Default false. */
  readonly outputs?: boolean;
  readonly signal?: AbortSignal;
}

/** Points behind a series. */
export interface Forecast {
  /** [steps, numbers of a point], row-major. */
  readonly values: Float32Array;
  /** How many points the heads said that were used, in turn. */
  readonly horizons: readonly number[];
  /** By head, in their order; empty unless asked for. */
  readonly outputs: readonly HorizonOutputs[];
}

/** What one head says behind each point of a series, of the numbers as the model reads them. */
export interface HorizonOutputs {
  readonly steps: number;
  /** [points of the series, steps, numbers of a point], row-major. */
  readonly values: Float32Array;
}

/** What a model that forecasts takes and says. */
export interface SeriesInfo {
  /** Numbers of a point. */
  readonly size: number;
  /** Points that each of its heads says at once. */
  readonly horizons: readonly number[];
}

/** What a loaded model measured. Times in milliseconds, rates per second; 0 before there is anything to report. */
export interface Stats {
  readonly loadMs: number;
  readonly timeToFirstTokenMs: number;
  /** Of the prompt's tokens, those that the cache held and that did not run. */
  readonly promptTokensReused: number;
  /** Of the tokens that ran. */
  readonly prefillTokensPerSecond: number;
  readonly decodeTokensPerSecond: number;
  readonly bytesFetched: number;
  readonly bytesFetchedBeforeFirstToken: number;
  /** Share of the experts that decoded tokens asked for which had a slot. */
  readonly expertHitRate: number;
  /** Times a decoded token's program had to wait for experts that had no slot. */
  readonly faultsPerToken: number;
  readonly bytesUploadedPerToken: number;
  /** Bytes of experts that a decoded token had to wait for. */
  readonly bytesStalledPerToken: number;
  /** Of the expert bytes brought early, the share that gave up its slot unused. */
  readonly prefetchWaste: number;
  readonly dispatchesPerToken: number;
  readonly readbacksPerToken: number;
  readonly gpuBytes: number;
  readonly hostBytesPeak: number;
}

/** What the experts did since they were first asked about; see `Model.experts`. */
export interface ExpertActivity {
  /** Tokens counted, prompts included. */
  readonly tokens: number;
  /** In the order they run. */
  readonly sites: readonly SiteActivity[];
}

/** The experts of one block; each list is by expert. */
export interface SiteActivity {
  readonly layer: number;
  /** What they are part of: a layer may have experts in both. */
  readonly block: "attention" | "feed-forward";
  /** Times a token was routed to it. */
  readonly uses: readonly number[];
  /** Times a token had to wait for it. */
  readonly misses: readonly number[];
  /** It is in GPU memory, or takes none. */
  readonly isResident: readonly boolean[];
  /** Those that take none, since they have no weights or next to none: zeros, copies, constants. */
  readonly pageless: readonly number[];
}

/** The free numbers of a routing rule: `k` experts at most, the best ones; see the others for which of them. */
export interface RoutingNumbers {
  /** Experts of a token, at most. */
  readonly k: number;
  /** Top-p: as few of them as have more than this share of all scores between them. 1: no limit. */
  readonly p: number;
  /** And only those that score this or more. 0: no limit. */
  readonly threshold: number;
  /** Divides the router's logits where scores are made of them: above 1 scores are nearer to each other. */
  readonly temperature: number;
}

/** Numbers that are allowed: from `least`, or above `above`, to `most`, or below `below`. */
export interface RoutingRange {
  readonly least?: number;
  readonly above?: number;
  readonly most?: number;
  readonly below?: number;
}

/** How one layer chooses experts. */
export interface LayerRouting {
  readonly layer: number;
  /** Whose experts: a layer may have some in both, of which each has an entry. */
  readonly block: "attention" | "feed-forward";
  readonly experts: number;
  /** The model's. */
  readonly rule:
    | "top-k"
    | "top-p"
    | "threshold"
    | "group-limited"
    | "all"
    | "expert-choice"
    | "whole-sequence";
  /** What holds from the next token on. */
  readonly numbers: RoutingNumbers;
  /** The model's own. */
  readonly own: RoutingNumbers;
  /** What may be set; a number without a range may not. */
  readonly ranges: Readonly<Partial<Record<keyof RoutingNumbers, RoutingRange>>>;
}

/** What the engine is told to change. */
export interface RoutingChange {
  /** Those that change. Absent: all become the model's own. */
  readonly numbers?: Partial<RoutingNumbers> | undefined;
  /** Absent: all. */
  readonly layers?: readonly number[] | undefined;
}

/** A conversation that was kept. */
export interface ConversationInfo {
  readonly name: string;
  /** Whose part of the cache is kept. */
  readonly tokens: number;
  readonly bytes: number;
  /** Milliseconds since 1970. */
  readonly savedAt: number;
}

/** What a caller may want to know of a model. */
export interface ModelInfo {
  /** In the store: an address, `hf:owner/repo/file@commit`, or what tells a file from others; with the form, see `install`. */
  readonly id: string;
  readonly architecture: string;
  readonly name: string;
  /** 0 of a model that forecasts. */
  readonly vocabulary: number;
  readonly contextTokens: number;
  readonly layers: number;
  readonly experts: number;
  readonly expertsPerToken: number;
  /** What large matrices of floats became, see `LoadOptions`. */
  readonly install: InstallForm;
  /** WebGPU adapter, as it describes itself. */
  readonly adapter: string;
  /** Of a model that forecasts, which takes a series and no tokens. */
  readonly series?: SeriesInfo;
}

/** What the engine is told when it loads a model; plain data. */
export interface EngineLoadOptions {
  readonly memory?: MemoryBudget | undefined;
  readonly experts?: ExpertOptions | undefined;
  readonly install?: InstallForm | undefined;
  readonly contextTokens?: number | undefined;
}

/** Sampling settings with every default filled in. */
export interface EngineGenerateOptions extends Required<SamplingOptions> {
  readonly maxTokens: number;
  readonly reuse: boolean;
  /** Ids that end the generation and are not given out. */
  readonly stopTokens: readonly number[];
  /** Each `TokenStream.next` says what the token it draws may be. */
  readonly isConstrained: boolean;
  /** Log probabilities come with the ids, of so many of the most likely ones too. Undefined: none do. */
  readonly topLogprobs: number | undefined;
  readonly route: RouteRequest;
}

/** What the engine is told of a forecast. */
export interface EngineForecastOptions {
  readonly steps: number;
  readonly outputs: boolean;
}

export interface LoadedModel {
  readonly info: ModelInfo;
  /** The file's `tokenizer.*` metadata, or the texts of the files that describe the tokenizer. */
  readonly vocabulary: Metadata;
}

/** Ids in the order they were generated. */
export interface TokenBatch {
  readonly ids: readonly number[];
  /** Of each id, where they were asked for. */
  readonly logprobs?: readonly TokenLogprobs[] | undefined;
}

/** Tokens in the order they are generated, a few at a time. */
export interface TokenStream {
  /**
   * The next ones, or undefined at the end.
   * @param allowed of a constrained generation: which id may come next, see `TokenConstraint`
   * @throws SluiceError
   */
  next(allowed?: Uint32Array): Promise<TokenBatch | undefined>;
  /** Ends the generation early. */
  stop(): Promise<void>;
}

/** The engine as its client sees it, in a worker or in the same thread. It knows ids, not text. */
export interface EngineService {
  load(
    spec: SourceSpec,
    options: EngineLoadOptions,
    onProgress: (progress: Progress) => void,
  ): Promise<LoadedModel>;
  generate(prompt: readonly number[], options: EngineGenerateOptions): Promise<TokenStream>;
  /** Logits of every prompt position: [prompt.length, vocabulary]. */
  logits(prompt: readonly number[], route: RouteRequest): Promise<Float32Array<ArrayBuffer>>;
  /** @param points [points, numbers of a point], as the model is to read them */
  forecast(points: Float32Array, options: EngineForecastOptions): Promise<Forecast>;
  stats(): Promise<Stats>;
  experts(): Promise<ExpertActivity>;
  /** How each layer with experts chooses them, in the order they run. */
  routing(): Promise<readonly LayerRouting[]>;
  /** From the next token on. @throws SluiceError `bad-request` */
  changeRouting(change: RoutingChange): Promise<readonly LayerRouting[]>;
  /** Keeps what the cache holds. @param data plain data to keep with it */
  saveConversation(name: string, data: unknown): Promise<ConversationInfo>;
  /** Brings the cache back. @returns the data that was kept with it */
  restoreConversation(name: string): Promise<unknown>;
  /** Latest first. */
  conversations(): Promise<ConversationInfo[]>;
  removeConversation(name: string): Promise<void>;
  /** The routes of all tokens since the load, as a trace file. @throws SluiceError `bad-request` if none were kept */
  trace(): Promise<string>;
  /** Resolves when every page is on disk, and in GPU memory where there is room. */
  install(): Promise<void>;
  /** Makes what is running end with `aborted`. */
  abort(): Promise<void>;
  dispose(): Promise<void>;
}

/** What the engine's worker is sent first; both ports are transferred. */
export interface EngineRequest {
  /** To the page. */
  readonly port: MessagePort;
  /** To the store. */
  readonly store: MessagePort;
}
