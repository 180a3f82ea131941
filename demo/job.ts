/** One run of the terminal or the benchmark, as both the headless page and Node perform it. */
import type {
  HorizonOutputs,
  LoadOptions,
  Model,
  ModelInfo,
  RouteRequest,
  RoutingNumbers,
  Stats,
} from "../src/index.ts";
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
  /** Numbers of the routers to run with, in place of the model's. */
  readonly routing?: Partial<RoutingNumbers>;
  /** Go on until the whole model is on disk, so that the next load of the same profile finds it there. */
  readonly waitsForInstall?: boolean;
}

/** Another: how a series goes on. */
export interface ForecastJob {
  readonly load?: JobLoad;
  /** Its points in order, the numbers of a point one after the other. */
  readonly series: readonly number[];
  /** Numbers of a point, where the caller knows; the model's then have to be as many. */
  readonly pointSize?: number | undefined;
  readonly steps: number;
  readonly standardise: boolean;
  /** Which head's outputs are given out as logits, by its points; the first if absent. */
  readonly horizon?: number | undefined;
  readonly wantsLogits: boolean;
}

export type AnyJob = Job | ForecastJob;
export type ResultOf<J extends AnyJob> = J extends ForecastJob ? ForecastResult : JobResult;

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

export interface ForecastResult {
  /** [steps, numbers of a point] */
  readonly forecast: number[];
  /** Points of the heads that were used, in turn. */
  readonly horizons: readonly number[];
  readonly stats: Stats;
  readonly info: ModelInfo;
}

/** Loads a model, runs `job` and disposes of the model. */
export async function runJob<J extends AnyJob>(
  load: () => Promise<Model>,
  job: J,
  events: JobEvents,
): Promise<ResultOf<J>> {
  const start = performance.now();
  const model = await load();
  try {
    const running = "series" in job ? forecastOn(model, job, events) : runOn(model, job, events, start);
    return (await running) as ResultOf<J>;
  } finally {
    await model.dispose();
  }
}

async function runOn(model: Model, job: Job, events: JobEvents, start: number): Promise<JobResult> {
  const prompt = promptTokens(model, job.prompt);
  if (job.routing) await model.routing.set(job.routing);
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

async function forecastOn(model: Model, job: ForecastJob, events: JobEvents): Promise<ForecastResult> {
  const { series, pointSize, steps, standardise, wantsLogits } = job;
  const { size = pointSize } = model.info.series ?? {};
  if (pointSize !== undefined && pointSize !== size) {
    throw new SluiceError("bad-request", `points of the series have ${pointSize} numbers`, {
      remedy: `Give points of ${size}, as ${model.info.name} reads them.`,
    });
  }
  const { values, horizons, outputs } = await model.forecast(series, {
    ...{ steps, standardise, outputs: wantsLogits },
  });
  if (wantsLogits) await events.onLogits(outputsOf(outputs, job.horizon));
  if (job.load?.experts?.trace) await events.onTrace(await model.trace());
  return { forecast: Array.from(values), horizons, stats: await model.stats(), info: model.info };
}

function outputsOf(outputs: readonly HorizonOutputs[], horizon: number | undefined): Float32Array {
  const said = horizon ?? outputs[0]?.steps;
  // Of several that say as many, the published code asks the last.
  const head = outputs.findLast(({ steps }) => steps === said);
  if (head) return head.values;
  throw new SluiceError("bad-request", `no head of the model says ${horizon} points at once`, {
    remedy: `Use one of --horizon ${outputs.map(({ steps }) => steps).join(", ")}.`,
  });
}

function promptTokens(model: Model, prompt: string | readonly number[]): number[] {
  if (typeof prompt !== "string") return [...prompt];
  if (model.info.series) {
    const remedy = "Use npm run -s forecast, with --series and --steps.";
    throw new SluiceError("bad-request", `${model.info.name} reads a series, not text`, { remedy });
  }
  if (model.tokenizer !== undefined) return model.tokenizer.encode(prompt);
  throw new SluiceError("bad-request", `${model.info.name} has no usable vocabulary to read a prompt with`, {
    remedy: "Give the prompt as token ids: --tokens 1,2,3.",
  });
}
