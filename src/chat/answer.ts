import type {
  GenerateOptions,
  ModelInfo,
  RouteRequest,
  SamplingOptions,
  Stats,
  TokenConstraint,
  TokenLogprobs,
} from "../api.ts";
import type { GrammarSource } from "../text/grammar.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { HeldTokens, type ShownToken } from "./logprobs.ts";
import type { CompletionUsage, FinishReason } from "./shapes.ts";
import { StopStrings } from "./stop_strings.ts";

/** What the OpenAI shapes need of a model; `Model` gives it. */
export interface TextModel {
  readonly info: ModelInfo;
  /** @throws SluiceError `unsupported-model` where the file has no vocabulary that can be used */
  tokenizer(): Tokenizer;
  generateTokens(
    prompt: readonly number[],
    options: GenerateOptions,
  ): AsyncGenerator<number, void, undefined>;
  stats(): Promise<Stats>;
}

/** What an answer is held to, and what it holds itself. */
export type AnswerConstraint = TokenConstraint & { dispose?(): void };

/**
 * Makes what holds answers to a grammar.
 * @throws SluiceError `bad-request` for one that cannot be used, `unsupported-model`, `network`
 */
export type Constrain = (grammar: GrammarSource) => Promise<() => Promise<AnswerConstraint>>;

/** How an answer is made, with every default filled in. */
export interface AnswerSettings extends Required<SamplingOptions>, RouteRequest {
  readonly maxTokens: number;
  readonly reuse: boolean;
  readonly stop: readonly string[];
  /** Choices for each prompt. */
  readonly n: number;
  readonly signal: AbortSignal | undefined;
  /** Messages left out of the prompt, where that was allowed. */
  readonly droppedMessages?: number;
  /** Makes what each choice is held to. */
  readonly constraint?: (() => AnswerConstraint | Promise<AnswerConstraint>) | undefined;
  /** What stands in the text for special tokens that would leave none, by id. */
  readonly spelled?: ReadonlyMap<number, string> | undefined;
  /** Tell how likely tokens were, and so many of the most likely ones. */
  readonly topLogprobs?: number | undefined;
}

/** Of each choice: its text in pieces, then how it ended. Choices come one after the other, the usage last. */
export type AnswerEvent = TextPiece | ChoiceEnd | { readonly usage: CompletionUsage };

interface TextPiece {
  readonly index: number;
  readonly text: string;
  /** Those that the piece shows first, where they are asked for. */
  readonly shown?: readonly ShownToken[] | undefined;
}

interface ChoiceEnd {
  readonly index: number;
  readonly finishReason: FinishReason;
  /** Given out, or part of a stop string. */
  readonly tokens: number;
  /** Those that no piece showed, where they are asked for. */
  readonly shown?: readonly ShownToken[] | undefined;
}

/** From one choice's seed to the next, modulo 2^32. */
const SEED_STEP = 0x9e3779b9;

/**
 * Answers each prompt `n` times, the first time with the seed of the settings.
 * @throws SluiceError what `Model.generateTokens` throws
 */
export async function* answer(
  model: TextModel,
  prompts: readonly (readonly number[])[],
  settings: AnswerSettings,
): AsyncGenerator<AnswerEvent, void, undefined> {
  let index = 0;
  let completionTokens = 0;
  let cachedTokens = 0;
  for (const prompt of prompts) {
    for (let choice = 0; choice < settings.n; choice++) {
      const seed = (settings.seed + Math.imul(choice, SEED_STEP)) >>> 0;
      for await (const event of generateChoice(model, prompt, { ...settings, seed }, index)) {
        if ("tokens" in event) completionTokens += event.tokens;
        yield event;
      }
      index += 1;
      if (choice === 0) cachedTokens += (await model.stats()).promptTokensReused;
    }
  }
  const promptTokens = prompts.reduce((sum, { length }) => sum + length, 0);
  const { droppedMessages } = settings;
  yield {
    usage: {
      ...usageOf(promptTokens, completionTokens, cachedTokens, await model.stats()),
      ...(droppedMessages !== undefined && { dropped_messages: droppedMessages }),
    },
  };
}

async function* generateChoice(
  model: TextModel,
  prompt: readonly number[],
  { stop, signal, constraint: constrain, spelled, topLogprobs, ...sampling }: AnswerSettings,
  index: number,
): AsyncGenerator<TextPiece | ChoiceEnd, void, undefined> {
  // The engine's own bound: the last token drawn needs no place in the context.
  const most = Math.min(sampling.maxTokens, model.info.contextTokens - prompt.length + 1);
  const held = topLogprobs === undefined ? undefined : new HeldTokens();
  const constraint = await constrain?.();
  const options = {
    ...sampling,
    ...(signal && { signal }),
    ...(constraint && { constraint }),
    ...(topLogprobs !== undefined && {
      topLogprobs,
      onLogprobs: (token: TokenLogprobs) => held?.push(token),
    }),
  };
  const tokenizer = model.tokenizer();
  const detokenizer = tokenizer.stream({ continuation: true });
  const stops = new StopStrings(stop);
  const stopTokens = specialTokens(stop, tokenizer);
  const textOf = (id: number): string => {
    const name = spelled?.get(id);
    return name === undefined ? detokenizer.push(id) : detokenizer.flush() + name;
  };
  const decoded = (text: string) => {
    held?.decoded(text);
    return stops.push(text);
  };
  const piece = (text: string): TextPiece => ({ index, text, shown: held?.shown(text) });
  let tokens = 0;
  let isAtStopToken = false;
  try {
    for await (const id of model.generateTokens(prompt, options)) {
      tokens += 1;
      isAtStopToken = stopTokens.has(id);
      if (isAtStopToken) {
        held?.drop();
        break;
      }
      const { text, isStopped } = decoded(textOf(id));
      if (text !== "") yield piece(text);
      if (isStopped) return yield { index, finishReason: "stop", tokens, shown: held?.rest(true) };
    }
  } finally {
    constraint?.dispose?.();
  }
  const { text, isStopped } = decoded(detokenizer.flush());
  const rest = isStopped ? text : text + stops.flush();
  if (rest !== "") yield piece(rest);
  const hasEnded = isStopped || isAtStopToken || tokens < most;
  yield { index, finishReason: hasEnded ? "stop" : "length", tokens, shown: held?.rest(isStopped) };
}

/** Special tokens leave no text to search: stop strings that spell one out are found by its id. */
function specialTokens(stop: readonly string[], tokenizer: Tokenizer): ReadonlySet<number> {
  const spelled = stop.map((text) => tokenizer.encode(text, { addSpecial: false, parseSpecial: true }));
  return new Set(spelled.filter((ids) => ids.length === 1 && tokenizer.decode(ids) === "").flat());
}

function usageOf(
  promptTokens: number,
  completionTokens: number,
  cachedTokens: number,
  stats: Stats,
): CompletionUsage {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
    timings: {
      time_to_first_token_ms: stats.timeToFirstTokenMs,
      prefill_tokens_per_second: stats.prefillTokensPerSecond,
      decode_tokens_per_second: stats.decodeTokensPerSecond,
    },
  };
}

interface WholeChoice {
  readonly text: string;
  readonly finishReason: FinishReason;
  /** Where they are asked for. */
  readonly shown: readonly ShownToken[] | undefined;
}

/** An answer that is waited for as a whole. */
export interface WholeAnswer {
  /** By index. */
  readonly choices: readonly WholeChoice[];
  readonly usage: CompletionUsage;
}

/** Reads an answer to its end. */
export async function wholeAnswer(events: AsyncIterable<AnswerEvent>): Promise<WholeAnswer> {
  const choices: WholeChoice[] = [];
  let text = "";
  let shown: ShownToken[] | undefined;
  let usage: CompletionUsage | undefined;
  for await (const event of events) {
    if ("usage" in event) {
      usage = event.usage;
      continue;
    }
    if (event.shown) shown = [...(shown ?? []), ...event.shown];
    if ("text" in event) text += event.text;
    else {
      choices.push({ text, finishReason: event.finishReason, shown });
      text = "";
      shown = undefined;
    }
  }
  return { choices, usage: usage as CompletionUsage };
}
