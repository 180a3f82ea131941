/** Requests and answers in the shapes that OpenAI published for `/v1/chat/completions` and `/v1/completions`. No logic. */

/** As those shapes have it, a parameter that is null is not given. */
type Given<T> = T | null | undefined;

/** What both kinds of request take. */
export interface CommonCreateParams extends ServiceParams {
  /** Any name: the model that was loaded answers, and its own name is in the answer. */
  readonly model?: Given<string>;
  /** Strings that end the answer; none of them is part of it. */
  readonly stop?: Given<string | readonly string[]>;
  /** 0 takes the most likely token. Default 1. */
  readonly temperature?: Given<number>;
  /** Keep the smallest set of most likely tokens whose probabilities sum to at least this. Default 1. */
  readonly top_p?: Given<number>;
  /** Keep only the k most likely tokens; 0 keeps all. Default 0. An extra parameter. */
  readonly top_k?: Given<number>;
  /** Then drop tokens whose probability is less than this share of the most likely one's. Default 0. An extra parameter. */
  readonly min_p?: Given<number>;
  /** Taken from a token's logit for each time it was generated; -2 to 2. Default 0. */
  readonly frequency_penalty?: Given<number>;
  /** Taken from a token's logit once it was generated; -2 to 2. Default 0. */
  readonly presence_penalty?: Given<number>;
  /** See `SamplingOptions.repetitionPenalty`. Default 1. An extra parameter. */
  readonly repetition_penalty?: Given<number>;
  /** Added to logits, by token id; -100 to 100. */
  readonly logit_bias?: Given<Readonly<Record<number, number>>>;
  /** Same seed, same model, same adapter: same text. Default: a new one for each call. */
  readonly seed?: Given<number>;
  /** Of models with tasks, see `RouteRequest`. An extra parameter, as the next two. */
  readonly task?: Given<number>;
  /** Of models whose requests name the experts. */
  readonly experts?: Given<readonly number[] | readonly (readonly number[])[]>;
  /** Of models that draw their experts. */
  readonly route_seed?: Given<number>;
  /** Answers to each prompt, made one after the other. Default 1. */
  readonly n?: Given<number>;
  /** Do not run what the cache holds of the prompt, see `GenerateOptions.reuse`. Default true. llama.cpp's name for it. */
  readonly cache_prompt?: Given<boolean>;
}

/** What tells a service whom it serves and how: accepted, and without effect here. */
export interface ServiceParams {
  readonly user?: Given<string>;
  readonly safety_identifier?: Given<string>;
  readonly prompt_cache_key?: Given<string>;
  readonly prompt_cache_retention?: Given<string>;
  readonly prompt_cache_options?: Given<object>;
  readonly metadata?: Given<Readonly<Record<string, string>>>;
  readonly service_tier?: Given<string>;
}

/** What cannot be done in chats yet: only the values that change nothing are accepted. */
export interface NeutralChatParams {
  readonly functions?: Given<readonly []>;
  readonly function_call?: Given<"none" | "auto">;
  readonly modalities?: Given<readonly ["text"]>;
  readonly reasoning_effort?: Given<never>;
  readonly verbosity?: Given<"medium">;
  readonly audio?: Given<never>;
  readonly prediction?: Given<never>;
  readonly moderation?: Given<never>;
  readonly web_search_options?: Given<never>;
  readonly store?: Given<false>;
}

/** The same, in requests for texts. */
export interface NeutralTextParams {
  readonly best_of?: Given<1>;
  readonly echo?: Given<false>;
  readonly suffix?: Given<"">;
}

/** What the answer is held to. */
export type ResponseFormat =
  | { readonly type: "text" }
  | { readonly type: "json_object" }
  | { readonly type: "json_schema"; readonly json_schema: ResponseFormatSchema }
  /** In xgrammar's EBNF, from the rule `root` on. An extra type. */
  | { readonly type: "grammar"; readonly grammar: string }
  /** An extra type. */
  | { readonly type: "regex"; readonly pattern: string };

export interface ResponseFormatSchema {
  readonly name: string;
  readonly description?: string | undefined;
  /** A JSON schema. What cannot be enforced of it is `bad-request`. */
  readonly schema?: object | undefined;
  /** Every schema is enforced, with it or without. */
  readonly strict?: Given<boolean>;
}

/** A function that the model may ask to have called. */
export interface ChatCompletionTool {
  readonly type: "function";
  readonly function: {
    readonly name: string;
    readonly description?: string | undefined;
    /** A JSON schema of an object. */
    readonly parameters?: object | undefined;
    /** Calls are held to `parameters`. Default false. */
    readonly strict?: Given<boolean>;
  };
}

export type ChatCompletionToolChoiceOption =
  | "none"
  | "auto"
  | "required"
  | { readonly type: "function"; readonly function: { readonly name: string } };

export interface ChatCompletionMessageToolCall {
  readonly id: string;
  readonly type: "function";
  readonly function: {
    readonly name: string;
    /** JSON of an object. */
    readonly arguments: string;
  };
}

/** A token, and how likely it was to the model: as it gives it, before temperature, penalties, biases and cuts. */
export interface TopLogprob {
  /** Its text, or its bytes as `bytes:\xe2\x82` where they are a part of a character. */
  readonly token: string;
  readonly logprob: number;
  /** Null where it has no text. */
  readonly bytes: readonly number[] | null;
}

export interface ChatCompletionTokenLogprob extends TopLogprob {
  /** Most likely first; the token itself need not be among them. */
  readonly top_logprobs: readonly TopLogprob[];
}

/**
 * Of the tokens whose text, or a part of it, is in the choice's or chunk's: those that a stop string cut off as a whole
 * are left out. A token that is a part of a character comes with the chunk that has the character.
 */
export interface ChatCompletionLogprobs {
  readonly content: readonly ChatCompletionTokenLogprob[];
  readonly refusal: null;
}

/** The same in text completions; the lists go side by side. */
export interface CompletionLogprobs {
  readonly tokens: readonly string[];
  readonly token_logprobs: readonly number[];
  /** By token, as many as were asked for and the token itself. */
  readonly top_logprobs: readonly Readonly<Record<string, number>>[];
  /** Where in the choice's text each begins, in UTF-16 units. */
  readonly text_offset: readonly number[];
}

export interface StreamOptions {
  /** A last chunk without choices gives the usage. Default false. */
  readonly include_usage?: Given<boolean>;
}

interface NonStreaming {
  readonly stream?: Given<false>;
  readonly stream_options?: Given<never>;
}

interface Streaming {
  readonly stream: true;
  readonly stream_options?: Given<StreamOptions>;
}

/** The second argument of `create`, as OpenAI's client has it. */
export interface RequestOptions {
  /** Ends the call with `aborted`. */
  readonly signal?: AbortSignal | null | undefined;
}

export interface TextPart {
  readonly type: "text";
  readonly text: string;
}

/** The texts of several parts are joined by line feeds. */
export type MessageContent = string | readonly TextPart[];

export type ChatCompletionMessageParam =
  | {
      readonly role: "system" | "developer" | "user";
      readonly content: MessageContent;
      readonly name?: string | undefined;
    }
  | {
      readonly role: "assistant";
      /** May be missing beside calls. */
      readonly content?: MessageContent | null | undefined;
      readonly name?: string | undefined;
      readonly refusal?: null | undefined;
      readonly tool_calls?: readonly ChatCompletionMessageToolCall[] | undefined;
      /** As it came. An extra field; templates that know it take it up. */
      readonly reasoning_content?: string | undefined;
    }
  | { readonly role: "tool"; readonly content: MessageContent; readonly tool_call_id: string };

export interface ChatCompletionCreateParamsBase extends CommonCreateParams, NeutralChatParams {
  readonly messages: readonly ChatCompletionMessageParam[];
  readonly response_format?: Given<ResponseFormat>;
  readonly tools?: Given<readonly ChatCompletionTool[]>;
  /** Default `auto`. */
  readonly tool_choice?: Given<ChatCompletionToolChoiceOption>;
  /** Whether an answer may have several calls. Default true. */
  readonly parallel_tool_calls?: Given<boolean>;
  /** Tell how likely each token of the answer was. Default false. */
  readonly logprobs?: Given<boolean>;
  /** Name so many of the most likely tokens at each place; 0 to 20, beside `logprobs: true`. Default 0. */
  readonly top_logprobs?: Given<number>;
  /** Default: as many as the context has room for. */
  readonly max_completion_tokens?: Given<number>;
  /** The older name of `max_completion_tokens`. */
  readonly max_tokens?: Given<number>;
  /**
   * What becomes of a chat that leaves no room for the answer: `disabled` ends in `context-full`, `auto` drops the oldest
   * messages. The name of OpenAI's Responses API. Default `disabled`.
   */
  readonly truncation?: Given<"disabled" | "auto">;
  /** A Jinja template to use in place of the model's own. An extra parameter. */
  readonly chat_template?: Given<string>;
  /** Further variables of the template, such as `{ enable_thinking: false }`. An extra parameter. */
  readonly chat_template_kwargs?: Given<Readonly<Record<string, unknown>>>;
}

export type ChatCompletionCreateParamsNonStreaming = ChatCompletionCreateParamsBase & NonStreaming;
export type ChatCompletionCreateParamsStreaming = ChatCompletionCreateParamsBase & Streaming;
export type ChatCompletionCreateParams =
  | ChatCompletionCreateParamsNonStreaming
  | ChatCompletionCreateParamsStreaming;

/** A text, or the ids of its tokens, or several of either. */
export type Prompt = string | readonly string[] | readonly number[] | readonly (readonly number[])[];

export interface CompletionCreateParamsBase extends CommonCreateParams, NeutralTextParams {
  readonly prompt: Prompt;
  /** Tell how likely each token was, and name so many of the most likely ones; 0 to 5. Default: neither. */
  readonly logprobs?: Given<number>;
  /** Default 16, as published. */
  readonly max_tokens?: Given<number>;
  /** An extra parameter. */
  readonly response_format?: Given<ResponseFormat>;
}

export type CompletionCreateParamsNonStreaming = CompletionCreateParamsBase & NonStreaming;
export type CompletionCreateParamsStreaming = CompletionCreateParamsBase & Streaming;
export type CompletionCreateParams = CompletionCreateParamsNonStreaming | CompletionCreateParamsStreaming;

/** `stop`: an end token of the model or a string of `stop`. `length`: `max_tokens`, or the context is full. */
export type FinishReason = "stop" | "length";
/** `tool_calls`: the answer ended, and has calls. */
export type ChatFinishReason = FinishReason | "tool_calls";

/** What the last choice of the answer measured. An extra field. */
export interface UsageTimings {
  readonly time_to_first_token_ms: number;
  readonly prefill_tokens_per_second: number;
  readonly decode_tokens_per_second: number;
}

export interface PromptTokensDetails {
  /** Those that the cache held when the first choice of their prompt was made, and that did not run again. */
  readonly cached_tokens: number;
}

export interface CompletionUsage {
  /** Each prompt counts once, however many choices it has. */
  readonly prompt_tokens: number;
  /** Of all choices. End tokens, which are not given out, do not count. */
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details: PromptTokensDetails;
  /** Messages that `truncation: "auto"` left out. Only where that was asked for. An extra field. */
  readonly dropped_messages?: number;
  readonly timings: UsageTimings;
}

/** What every answer and every chunk of it begins with. */
export interface AnswerHeader {
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
  /** The name of the model that answered. */
  readonly model: string;
}

export interface ChatCompletionMessage {
  readonly role: "assistant";
  /** null where there are calls and nothing else is said. */
  readonly content: string | null;
  readonly refusal: null;
  /** Only where there are any. */
  readonly tool_calls?: readonly ChatCompletionMessageToolCall[];
  /** What the model thought, where it says so apart from its answer. Only where there is any. An extra field. */
  readonly reasoning_content?: string;
}

export interface ChatCompletionChoice {
  readonly index: number;
  readonly message: ChatCompletionMessage;
  readonly logprobs: ChatCompletionLogprobs | null;
  readonly finish_reason: ChatFinishReason;
}

export interface ChatCompletion extends AnswerHeader {
  readonly object: "chat.completion";
  readonly choices: readonly ChatCompletionChoice[];
  readonly usage: CompletionUsage;
}

/** The first of a choice has the role, the last nothing. */
export interface ChatCompletionDelta {
  readonly role?: "assistant";
  readonly content?: string;
  /** One call, whole. */
  readonly tool_calls?: readonly ChatCompletionDeltaToolCall[];
  /** An extra field. */
  readonly reasoning_content?: string;
}

export interface ChatCompletionDeltaToolCall extends ChatCompletionMessageToolCall {
  /** Its place in the message's `tool_calls`. */
  readonly index: number;
}

export interface ChatCompletionChunkChoice {
  readonly index: number;
  readonly delta: ChatCompletionDelta;
  readonly logprobs: ChatCompletionLogprobs | null;
  readonly finish_reason: ChatFinishReason | null;
}

export interface ChatCompletionChunk extends AnswerHeader {
  readonly object: "chat.completion.chunk";
  /** One, but none in the chunk that gives the usage. */
  readonly choices: readonly ChatCompletionChunkChoice[];
  /** Only with `include_usage`; null but in the last chunk. */
  readonly usage?: CompletionUsage | null;
}

export interface CompletionChoice {
  readonly index: number;
  readonly text: string;
  readonly logprobs: CompletionLogprobs | null;
  readonly finish_reason: FinishReason;
}

export interface Completion extends AnswerHeader {
  readonly object: "text_completion";
  readonly choices: readonly CompletionChoice[];
  readonly usage: CompletionUsage;
}

export interface CompletionChunkChoice {
  readonly index: number;
  readonly text: string;
  readonly logprobs: CompletionLogprobs | null;
  readonly finish_reason: FinishReason | null;
}

/** A chunk of a streamed text completion, which has the same `object` as a whole one. */
export interface CompletionChunk extends AnswerHeader {
  readonly object: "text_completion";
  readonly choices: readonly CompletionChunkChoice[];
  /** Only with `include_usage`; null but in the last chunk. */
  readonly usage?: CompletionUsage | null;
}

/** `model.chat.completions`: answers to messages. */
export interface ChatCompletions {
  /**
   * Answers the last of `messages`. With `stream: true` the answer comes in chunks while it is made: nothing runs before
   * the first is asked for, and leaving the loop ends the call.
   * @throws SluiceError `bad-request` (also while another call runs), `context-full`, `aborted`, `device-lost`,
   * `unsupported-model` (no vocabulary)
   */
  create(request: ChatCompletionCreateParamsNonStreaming, options?: RequestOptions): Promise<ChatCompletion>;
  create(
    request: ChatCompletionCreateParamsStreaming,
    options?: RequestOptions,
  ): Promise<AsyncGenerator<ChatCompletionChunk, void, undefined>>;
  create(
    request: ChatCompletionCreateParams,
    options?: RequestOptions,
  ): Promise<ChatCompletion | AsyncGenerator<ChatCompletionChunk, void, undefined>>;
}

/** `model.completions`: texts that are continued. */
export interface Completions {
  /**
   * Continues a text, or several. With `stream: true` the answer comes in chunks while it is made: nothing runs before
   * the first is asked for, and leaving the loop ends the call.
   * @throws SluiceError `bad-request` (also while another call runs), `context-full`, `aborted`, `device-lost`,
   * `unsupported-model` (no vocabulary)
   */
  create(request: CompletionCreateParamsNonStreaming, options?: RequestOptions): Promise<Completion>;
  create(
    request: CompletionCreateParamsStreaming,
    options?: RequestOptions,
  ): Promise<AsyncGenerator<CompletionChunk, void, undefined>>;
  create(
    request: CompletionCreateParams,
    options?: RequestOptions,
  ): Promise<Completion | AsyncGenerator<CompletionChunk, void, undefined>>;
}
