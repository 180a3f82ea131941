/** A model whose engine says what it is told to: ids in, ids out, no GPU. */
import { setImmediate } from "node:timers/promises";
import type {
  EngineGenerateOptions,
  EngineService,
  ModelInfo,
  Stats,
  TokenLogprobs,
  TokenStream,
} from "../../src/api.ts";
import { abortedError, SluiceError } from "../../src/errors.ts";
import { Model } from "../../src/language_model.ts";
import type { Metadata } from "../../src/source/model_file.ts";
import { SPACE_MARK } from "../../src/text/vocabulary.ts";
import { sentencePieceMetadata } from "../text/support.ts";

/** `</s>`, which ends a generation. */
export const END = 2;
/** The first of 256 tokens that stand for a byte each. */
const BYTES = 3;
const BATCH_TOKENS = 3;

export const STATS: Stats = {
  loadMs: 1,
  timeToFirstTokenMs: 12.5,
  promptTokensReused: 0,
  prefillTokensPerSecond: 80,
  decodeTokensPerSecond: 20,
  bytesFetched: 0,
  bytesFetchedBeforeFirstToken: 0,
  expertHitRate: 1,
  faultsPerToken: 0,
  bytesUploadedPerToken: 0,
  bytesStalledPerToken: 0,
  prefetchWaste: 0,
  dispatchesPerToken: 0,
  readbacksPerToken: 0,
  gpuBytes: 0,
  hostBytesPeak: 0,
};

/** Ids of text, one byte token for each byte. */
export const bytesOf = (text: string): number[] =>
  [...new TextEncoder().encode(text)].map((byte) => BYTES + byte);

export interface Call {
  readonly prompt: readonly number[];
  readonly options: EngineGenerateOptions;
  /** What each `next` of a constrained call said of the token it asked for. */
  readonly masks: (Uint32Array | undefined)[];
}

export interface FakeOptions {
  /** What the model has to say; it ends with `END`, or goes on to the limit if that is not there. */
  readonly reply?: (call: Omit<Call, "masks">) => readonly number[];
  readonly contextTokens?: number;
  readonly vocabulary?: Metadata;
}

/** The more likely the lower the id, and the end the most. */
const fakeLogprobs = (id: number, top: number): TokenLogprobs => ({
  ...{ id, logprob: -id / 256 },
  top: Array.from({ length: top }, (_, i) => ({ id: END + i, logprob: -(END + i) / 256 })),
});

/** One call at a time, ids in batches, limits and end tokens as in `Engine`. */
export class FakeEngine implements EngineService {
  readonly calls: Call[] = [];
  /** Ids that were asked for, over all calls. */
  asked = 0;
  /** Streams that were told to stop or came to their end. */
  ended = 0;
  readonly #reply: NonNullable<FakeOptions["reply"]>;
  readonly #contextTokens: number;
  #work: AbortController | undefined;

  constructor(reply: NonNullable<FakeOptions["reply"]>, contextTokens: number) {
    this.#reply = reply;
    this.#contextTokens = contextTokens;
  }

  get isBusy(): boolean {
    return this.#work !== undefined;
  }

  async generate(prompt: readonly number[], options: EngineGenerateOptions): Promise<TokenStream> {
    if (prompt.length > this.#contextTokens) {
      throw new SluiceError("context-full", "too long", { remedy: "Shorten it." });
    }
    if (this.#work) throw new SluiceError("bad-request", "this model is busy", { remedy: "Wait." });
    const work = new AbortController();
    this.#work = work;
    const masks: Call["masks"] = [];
    this.calls.push({ prompt, options, masks });
    const most = Math.min(options.maxTokens, this.#contextTokens - prompt.length + 1);
    const ids = this.#reply({ prompt, options }).slice(0, most);
    const stopAt = ids.findIndex((id) => options.stopTokens.includes(id));
    const kept = stopAt === -1 ? ids : ids.slice(0, stopAt);
    const end = () => {
      if (this.#work !== work) return;
      this.#work = undefined;
      this.ended += 1;
    };
    const isStepwise = options.isConstrained || options.topLogprobs !== undefined;
    let at = 0;
    return {
      next: async (allowed) => {
        if (options.isConstrained) masks.push(allowed?.slice());
        await setImmediate();
        if (work.signal.aborted || at >= kept.length) end();
        if (work.signal.aborted) throw abortedError();
        if (at >= kept.length) return undefined;
        const batch = kept.slice(at, at + (isStepwise ? 1 : BATCH_TOKENS));
        at += batch.length;
        this.asked += batch.length;
        const { topLogprobs: top } = options;
        const told = top === undefined ? undefined : batch.map((id) => fakeLogprobs(id, top));
        return { ids: batch, logprobs: told };
      },
      stop: async () => end(),
    };
  }

  async abort(): Promise<void> {
    this.#work?.abort();
  }

  async stats(): Promise<Stats> {
    return STATS;
  }

  async load(): Promise<never> {
    throw new Error("it is loaded");
  }

  async logits(): Promise<never> {
    throw new Error("there are no logits");
  }

  forecast(): never {
    throw new Error("there is no series");
  }

  async saveConversation(): Promise<never> {
    throw new Error("there is no cache");
  }

  async restoreConversation(): Promise<never> {
    throw new Error("there is no cache");
  }

  async conversations(): Promise<never[]> {
    return [];
  }

  async removeConversation(): Promise<void> {}

  async trace(): Promise<string> {
    return "";
  }

  async routing(): Promise<never[]> {
    return [];
  }

  async changeRouting(): Promise<never> {
    throw new Error("there are no routers");
  }

  async experts(): Promise<never> {
    throw new Error("there are no experts");
  }

  async install(): Promise<void> {}

  async dispose(): Promise<void> {}
}

const INFO: Omit<ModelInfo, "contextTokens"> = {
  id: "fake",
  architecture: "fake",
  name: "Fake 1B",
  vocabulary: 260,
  layers: 1,
  experts: 1,
  expertsPerToken: 1,
  install: "as-is",
  adapter: "none",
};

/** Text prompts get `<s>` before one token per byte; replies are byte tokens. */
export function fakeModel({
  reply = () => [...bytesOf("Hello, world."), END],
  contextTokens = 1000,
  vocabulary = plainVocabulary(),
}: FakeOptions = {}): { readonly model: Model; readonly engine: FakeEngine } {
  const engine = new FakeEngine(reply, contextTokens);
  return { engine, model: new Model(engine, { info: { ...INFO, contextTokens }, vocabulary }) };
}

/** `<|name|>` before each message, two special tokens for the sides of a chat. */
export const TEMPLATE = `{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{{ message.content }}
{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}`;

/** The space's token; all else is in bytes. */
export const SPACE = BYTES + 256;

/** Each character of ASCII is a token. */
export function plainVocabulary(more: Metadata = {}): Metadata {
  return sentencePieceMetadata([SPACE_MARK], {
    "tokenizer.ggml.add_space_prefix": false,
    "tokenizer.ggml.bos_token_id": 1,
    ...more,
  });
}
