/** One run of the terminal or the benchmark, as both the headless page and Node perform it. */
import type { LoadOptions, Model, ModelInfo, RouteRequest, Stats } from "../src/index.ts";
import { SluiceError } from "../src/index.ts";

/** How a model is loaded, as plain data that goes to a page. */
export type JobLoad = Omit<LoadOptions, "onProgress" | "signal">;

export interface Job {
  /** With `experts.trace`, the job gives out the trace. */
  readonly load?: JobLoad;
  /** What to continue: text, or token ids for a model without a usable vocabulary. */
  readonly prompt: string | readonly number[];
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly seed?: number;
  /** Where the model's routers read it. */
  readonly route?: RouteRequest;
  readonly wantsLogits: boolean;
  /** Go on until the whole model is on disk, so that the next load of the same profile finds it there. */
  readonly waitsForInstall?: boolean;
}

export interface JobEvents {
  /** Printable text as it comes; ids and spaces where the model has no vocabulary. */
  onText(piece: string): void;
  /** Prompt positions × vocabulary, row-major. */
  onLogits(logits: Float32Array): Promise<void>;
  /** What `npm run replay` reads. */
  onTrace(trace: string): Promise<void>;
}

export interface JobResult {
  /** Generated ids, without the prompt. */
  readonly tokens: number[];
  /** Empty where the model has no vocabulary. */
  readonly text: string;
  readonly stats: Stats;
  readonly info: ModelInfo;
  /** From the call to the first token, loading and all; 0 if there was none. */
  readonly firstTokenAfterMs: number;
}

/** Loads a model, runs `job` and disposes of the model. */
export async function runJob(load: () => Promise<Model>, job: Job, events: JobEvents): Promise<JobResult> {
  const start = performance.now();
  const model = await load();
  try {
    return await runOn(model, job, events, start);
  } finally {
    await model.dispose();
  }
}

async function runOn(model: Model, job: Job, events: JobEvents, start: number): Promise<JobResult> {
  const prompt = promptTokens(model, job.prompt);
  if (job.wantsLogits) await events.onLogits(await model.logits(prompt, job.route));
  const tokens: number[] = [];
  let text = "";
  let firstTokenAfterMs = 0;
  if (job.maxTokens > 0) {
    const decoder = model.tokenizer?.stream({ continuation: true });
    const emit = (piece: string) => {
      if (decoder !== undefined) text += piece;
      if (piece !== "") events.onText(piece);
    };
    const { maxTokens, temperature, topK, topP, seed, route } = job;
    const options = { maxTokens, temperature, topK, topP, ...(seed === undefined ? {} : { seed }), ...route };
    for await (const id of model.generateTokens(prompt, options)) {
      if (tokens.push(id) === 1) firstTokenAfterMs = performance.now() - start;
      emit(decoder === undefined ? `${id} ` : decoder.push(id));
    }
    if (decoder !== undefined) emit(decoder.flush());
  }
  if (job.load?.experts?.trace) await events.onTrace(await model.trace());
  if (job.waitsForInstall) await model.install();
  return { tokens, text, stats: await model.stats(), info: model.info, firstTokenAfterMs };
}

function promptTokens(model: Model, prompt: string | readonly number[]): number[] {
  if (typeof prompt !== "string") return [...prompt];
  if (model.tokenizer !== undefined) return model.tokenizer.encode(prompt);
  throw new SluiceError("bad-request", `${model.info.name} has no usable vocabulary to read a prompt with`, {
    remedy: "Give the prompt as token ids: --tokens 1,2,3.",
  });
}
