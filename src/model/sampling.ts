import { type EngineGenerateOptions, MOST_LOGPROBS, type TokenLogprobs } from "../api.ts";
import { SluiceError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { ParamValues } from "../gpu/params.ts";
import type { Step } from "../gpu/program.ts";
import { adjust_logits, IN_PROMPT } from "../kernels/adjust_logits.ts";
import { logprobs, logprobsBytes } from "../kernels/logprobs.ts";
import { INVALID_TOKEN, sample } from "../kernels/sample.ts";
import type { Program, Programs } from "./forward.ts";
import type { ModelPlan } from "./plan.ts";
import type { State } from "./state.ts";

/** How tokens are drawn. `allowed`: which ids the next one may be, see `TokenConstraint`. */
export interface Sampling
  extends Omit<EngineGenerateOptions, "maxTokens" | "reuse" | "stopTokens" | "route"> {
  readonly allowed?: Uint32Array | undefined;
}

export const GREEDY: Sampling = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  frequencyPenalty: 0,
  presencePenalty: 0,
  repetitionPenalty: 1,
  logitBias: {},
  seed: 0,
  isConstrained: false,
  topLogprobs: undefined,
};

/** The most that `Sampler.copyRecord` adds to a readback. */
export const RECORD_BYTES = logprobsBytes(MOST_LOGPROBS);

/** Programs that end in a drawn token. */
interface Drawing {
  /** Logits of row `params.row`, and the next token. */
  readonly head: readonly Step[];
  /** One token through all layers, then the same. */
  readonly decode: Program;
}

/** What stands between the logits and those that are drawn from, see `adjust_logits`. */
interface Adjusting {
  readonly bias: GPUBuffer;
  readonly allowed: GPUBuffer;
  readonly seen: GPUBuffer;
  readonly adjusted: GPUBuffer;
  /** What the last request left in the first two: some bias, a mask that allows all. */
  isBiased: boolean;
  allowsAll: boolean;
}

/**
 * Draws tokens as requests ask for it. What only some requests need is made when the first of them begins: others take
 * not a step more.
 */
export class Sampler {
  readonly #gpu: Gpu;
  readonly #vocabulary: number;
  readonly #state: State;
  readonly #programs: Programs;
  readonly #drawings = new Map<string, Drawing>();
  #adjusting: Adjusting | undefined;
  #record: GPUBuffer | undefined;
  #drawing: Drawing;
  #promptTokens = 0;
  #logprobs: TokenLogprobs | undefined;
  /** Most likely tokens that the request in hand wants to be told of. */
  #top: number | undefined;

  constructor(gpu: Gpu, { vocabulary }: ModelPlan, state: State, programs: Programs) {
    this.#gpu = gpu;
    this.#vocabulary = vocabulary;
    this.#state = state;
    this.#programs = programs;
    this.#drawing = this.#drawingFor(false, false);
    this.#drawings.set(keyOf(false, false), this.#drawing);
  }

  get head(): readonly Step[] {
    return this.#drawing.head;
  }

  get decode(): Program {
    return this.#drawing.decode;
  }

  /** Of the token that was read back last, if its request asked for them. */
  get logprobs(): TokenLogprobs | undefined {
    return this.#logprobs;
  }

  /** What `copyRecord` adds to a readback: nothing, unless log probabilities are asked for. */
  get recordBytes(): number {
    return this.#top === undefined ? 0 : logprobsBytes(this.#top);
  }

  copyRecord(encoder: GPUCommandEncoder, staging: GPUBuffer, at: number): void {
    if (this.#record && this.recordBytes > 0) {
      encoder.copyBufferToBuffer(this.#record, 0, staging, at, this.recordBytes);
    }
  }

  /** @param id the token that was drawn @param bytes read back, at `at` what `copyRecord` put there */
  readRecord(id: number, bytes: ArrayBuffer, at: number): void {
    const end = at + this.recordBytes;
    if (end > at) this.#logprobs = logprobsOf(id, bytes.slice(at, end));
  }

  /**
   * To be called before a prompt is fed whose next token is to be drawn.
   * @throws SluiceError `bad-request` for a mask that cannot be, `out-of-memory`, `shader-error`
   */
  async begin(prompt: readonly number[], sampling: Sampling): Promise<void> {
    this.#promptTokens = prompt.length;
    this.#top = sampling.topLogprobs;
    this.#logprobs = undefined;
    const isAdjusted = isAdjustedBy(sampling);
    const key = keyOf(isAdjusted, this.#top !== undefined);
    this.#drawing = this.#drawings.get(key) ?? (await this.#make(isAdjusted, this.#top !== undefined));
    if (!isAdjusted || !this.#adjusting) return;
    this.allow(sampling);
    this.#bias(this.#adjusting, sampling.logitBias);
    if (!isPenalised(sampling)) return;
    const seen = new Uint32Array(this.#vocabulary);
    for (const id of prompt) seen[id] = IN_PROMPT;
    this.#gpu.upload(this.#adjusting.seen, 0, seen);
  }

  /**
   * To be called before each token of a constrained request is drawn.
   * @throws SluiceError `bad-request` for a mask of another size, or that leaves no id
   */
  allow({ allowed }: Sampling): void {
    if (!this.#adjusting || (!allowed && this.#adjusting.allowsAll)) return;
    if (allowed) requireMask(allowed, this.#vocabulary);
    this.#gpu.upload(
      this.#adjusting.allowed,
      0,
      allowed ?? new Uint32Array(maskWords(this.#vocabulary)).fill(~0),
    );
    this.#adjusting.allowsAll = !allowed;
  }

  /** What replays are told of how to draw. */
  params(sampling: Sampling): Omit<ParamValues, "position" | "tokens" | "row"> {
    return {
      seed: sampling.seed,
      temperature: sampling.temperature,
      top_k: sampling.topK,
      top_p: sampling.topP,
      min_p: sampling.minP,
      repetition_penalty: sampling.repetitionPenalty,
      frequency_penalty: sampling.frequencyPenalty,
      presence_penalty: sampling.presencePenalty,
      prompt_tokens: this.#promptTokens,
      top_logprobs: sampling.topLogprobs ?? 0,
    };
  }

  #bias(adjusting: Adjusting, logitBias: Sampling["logitBias"]): void {
    const entries = Object.entries(logitBias);
    if (entries.length === 0 && !adjusting.isBiased) return;
    const biases = new Float32Array(this.#vocabulary);
    for (const [id, bias] of entries) biases[Number(id)] = bias;
    this.#gpu.upload(adjusting.bias, 0, biases);
    adjusting.isBiased = entries.length > 0;
  }

  #make(isAdjusted: boolean, isTold: boolean): Promise<Drawing> {
    return this.#gpu.checked(async () => {
      const drawing = this.#drawingFor(isAdjusted, isTold);
      await this.#gpu.ready();
      this.#drawings.set(keyOf(isAdjusted, isTold), drawing);
      return drawing;
    });
  }

  #drawingFor(isAdjusted: boolean, isTold: boolean): Drawing {
    const gpu = this.#gpu;
    const { decode, logits: toLogits } = this.#programs;
    const { logits, tokens, fault } = this.#state;
    const args = { vocabulary: this.#vocabulary, tokens, fault };
    const head = [...toLogits];
    let drawnFrom = logits;
    if (isAdjusted) {
      this.#adjusting ??= allocateAdjusting(gpu, this.#vocabulary);
      head.push(adjust_logits(gpu, { ...args, logits, ...this.#adjusting }));
      drawnFrom = this.#adjusting.adjusted;
    }
    head.push(sample(gpu, { ...args, logits: drawnFrom }));
    if (isTold) {
      this.#record ??= gpu.buffer("logprobs", RECORD_BYTES, storageUsage());
      head.push(logprobs(gpu, { ...args, logits, record: this.#record }));
    }
    return { head, decode: { ...decode, steps: [...decode.steps, ...head] } };
  }
}

const storageUsage = () => GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;

function allocateAdjusting(gpu: Gpu, vocabulary: number): Adjusting {
  const words = (label: string, count: number) => gpu.buffer(label, 4 * count, storageUsage());
  return {
    bias: words("logit bias", vocabulary),
    allowed: words("allowed tokens", maskWords(vocabulary)),
    seen: words("seen tokens", vocabulary),
    adjusted: words("adjusted logits", vocabulary),
    isBiased: false,
    allowsAll: false,
  };
}

/** GPU bytes that a sampler takes once every kind of request was made. */
export function samplerBytes({ vocabulary }: ModelPlan): number {
  return 4 * (3 * vocabulary + maskWords(vocabulary)) + RECORD_BYTES;
}

/** Reads what `logprobs` records of token `id`. */
function logprobsOf(id: number, record: ArrayBuffer): TokenLogprobs {
  const words = new Uint32Array(record);
  const floats = new Float32Array(record);
  const top = Array.from({ length: (words.length - 1) / 2 }, (_, i) => ({
    id: words[1 + 2 * i] as number,
    logprob: floats[2 + 2 * i] as number,
  }));
  return { id, logprob: floats[0] as number, top: top.filter(({ id }) => id !== INVALID_TOKEN) };
}

function isAdjustedBy(sampling: Sampling): boolean {
  return sampling.isConstrained || isPenalised(sampling) || Object.keys(sampling.logitBias).length > 0;
}

function isPenalised({ frequencyPenalty, presencePenalty, repetitionPenalty }: Sampling): boolean {
  return frequencyPenalty !== 0 || presencePenalty !== 0 || repetitionPenalty !== 1;
}

function keyOf(isAdjusted: boolean, isTold: boolean): string {
  return `${isAdjusted} ${isTold}`;
}

function maskWords(vocabulary: number): number {
  return Math.ceil(vocabulary / 32);
}

/** @throws SluiceError `bad-request` with both sizes, or if no id of the vocabulary is left */
function requireMask(allowed: Uint32Array, vocabulary: number): void {
  const words = maskWords(vocabulary);
  if (allowed.length !== words) {
    throw new SluiceError("bad-request", `a mask of ${allowed.length} words came for the next token`, {
      remedy: `Give ${words} words, a bit for each of ${vocabulary} ids.`,
      details: { words: allowed.length, needed: words },
    });
  }
  // The last word may have bits behind the vocabulary.
  const last = (allowed[words - 1] as number) << (32 * words - vocabulary);
  if (last !== 0 || allowed.subarray(0, words - 1).some((word) => word !== 0)) return;
  throw new SluiceError("bad-request", "the mask for the next token allows none", {
    remedy: "Allow an end token where the text may end.",
    details: { vocabulary },
  });
}
