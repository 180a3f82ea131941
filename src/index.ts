export type {
  CapacityPlan,
  ConversationInfo,
  ExpertActivity,
  ExpertOptions,
  Forecast,
  ForecastOptions,
  GenerateOptions,
  HorizonOutputs,
  LayerRouting,
  LoadOptions,
  MemoryBudget,
  ModelInfo,
  PolicyName,
  PredictorName,
  Progress,
  RouteRequest,
  RoutingNumbers,
  RoutingRange,
  SamplingOptions,
  SeriesInfo,
  SiteActivity,
  Stats,
  TokenConstraint,
  TokenLogprob,
  TokenLogprobs,
} from "./api.ts";
export type {
  ChatCompletion,
  ChatCompletionChunk,
  ChatCompletionCreateParams,
  ChatCompletionCreateParamsNonStreaming,
  ChatCompletionCreateParamsStreaming,
  ChatCompletionLogprobs,
  ChatCompletionMessage,
  ChatCompletionMessageParam,
  ChatCompletionMessageToolCall,
  ChatCompletions,
  ChatCompletionTokenLogprob,
  ChatCompletionTool,
  ChatCompletionToolChoiceOption,
  ChatFinishReason,
  Completion,
  CompletionChunk,
  CompletionCreateParams,
  CompletionCreateParamsNonStreaming,
  CompletionCreateParamsStreaming,
  CompletionLogprobs,
  Completions,
  CompletionUsage,
  FinishReason,
  RequestOptions,
  ResponseFormat,
  TopLogprob,
} from "./chat/shapes.ts";
export { listModels, loadModel, removeModel, storageUse } from "./client.ts";
export type { Conversations } from "./conversations.ts";
export { type ErrorDetails, SluiceError, type SluiceErrorCode } from "./errors.ts";
export type { Model } from "./language_model.ts";
export type { InstallForm } from "./quant/install.ts";
export type { Routing } from "./routing.ts";
export type { HubOptions } from "./source/hub_name.ts";
export type { ModelSource } from "./source/spec.ts";
export type { ModelOrigin } from "./store/about.ts";
export type { InstalledModel, StorageUse } from "./store/installed.ts";
export { persist } from "./store/persist.ts";
export type { DecodeOptions, StreamingDetokenizer } from "./text/detokenizer.ts";
export type { EncodeOptions, Tokenizer } from "./text/tokenizer.ts";
