/** Types of the public interface that both sides of the worker boundary speak. No logic. */
import type { Metadata } from "./source/model_file.ts";
import type { SourceSpec } from "./source/source.ts";

export interface Progress {
  /** `open`: reading the header. `load`: bringing weights to the GPU. `ready`: done. */
  readonly phase: "open" | "load" | "ready";
  readonly bytesDone: number;
  /** Bytes of model file that this model needs in all. 0 while unknown. */
  readonly bytesTotal: number;
}

export interface MemoryBudget {
  /** GPU bytes the model may take. Default: what the adapter allows. */
  readonly gpu?: number;
}

export interface LoadOptions {
  readonly onProgress?: (progress: Progress) => void;
  readonly signal?: AbortSignal;
  readonly memory?: MemoryBudget;
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
  /** Same seed, same model, same adapter: same text. Default: a new one for each call. */
  readonly seed?: number;
}

export interface GenerateOptions extends SamplingOptions {
  /** Default: as many as the context has room for. */
  readonly maxTokens?: number;
  readonly signal?: AbortSignal;
}

/** What a loaded model measured. Times in milliseconds, rates per second; 0 before there is anything to report. */
export interface Stats {
  readonly loadMs: number;
  readonly timeToFirstTokenMs: number;
  readonly prefillTokensPerSecond: number;
  readonly decodeTokensPerSecond: number;
  readonly bytesFetched: number;
  readonly bytesFetchedBeforeFirstToken: number;
  readonly bytesUploadedPerToken: number;
  readonly dispatchesPerToken: number;
  readonly readbacksPerToken: number;
  readonly gpuBytes: number;
  readonly hostBytesPeak: number;
}

/** What a caller may want to know of a model. */
export interface ModelInfo {
  readonly id: string;
  readonly architecture: string;
  readonly name: string;
  readonly vocabulary: number;
  readonly contextTokens: number;
  readonly layers: number;
  readonly experts: number;
  readonly expertsPerToken: number;
  /** WebGPU adapter, as it describes itself. */
  readonly adapter: string;
}

/** What the engine is told when it loads a model; plain data. */
export interface EngineLoadOptions {
  readonly gpuBytes?: number | undefined;
  readonly contextTokens?: number | undefined;
}

/** Sampling settings with every default filled in. */
export interface EngineGenerateOptions extends Required<SamplingOptions> {
  readonly maxTokens: number;
  /** Ids that end the generation and are not given out. */
  readonly stopTokens: readonly number[];
}

export interface LoadedModel {
  readonly info: ModelInfo;
  /** The file's `tokenizer.*` metadata. */
  readonly vocabulary: Metadata;
}

/** Ids in the order they are generated, a few at a time. */
export interface TokenStream {
  /** The next ids, or undefined at the end. @throws SluiceError */
  next(): Promise<readonly number[] | undefined>;
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
  logits(prompt: readonly number[]): Promise<Float32Array<ArrayBuffer>>;
  stats(): Promise<Stats>;
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
