import { parseArgs } from "node:util";
import { DEFAULTS } from "../../src/experts/defaults.ts";
import { POLICIES } from "../../src/experts/policy/index.ts";
import { PREDICTORS } from "../../src/experts/predictor/index.ts";
import type {
  ExpertOptions,
  LoadOptions,
  MemoryBudget,
  RouteRequest,
  RoutingNumbers,
} from "../../src/index.ts";
import { INSTALL_FORMS } from "../../src/quant/install.ts";
import { isHubName } from "../../src/source/hub_name.ts";
import type { JobLoad } from "../job.ts";
import { hubOptions } from "./model_place.ts";

export interface TerminalOptions {
  readonly model: string | undefined;
  readonly prompt: string | readonly number[];
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly seed: number | undefined;
  readonly route: RouteRequest;
  /** What was given of it; the engine has defaults for the rest. */
  readonly load: JobLoad;
  /** Numbers of the routers that are not to be the model's. */
  readonly routing: Partial<RoutingNumbers> | undefined;
  readonly logitsFile: string | undefined;
  readonly traceFile: string | undefined;
  readonly json: boolean;
  readonly backend: "chromium" | "node";
  readonly help: boolean;
}

/** Wrong usage, as opposed to a run that fails: exit code 2. */
export class UsageError extends Error {}

export const DEFAULT_PROMPT = "once upon a time, there was a little";
const DEFAULT_MAX_TOKENS = 128;
const STORES = ["auto", "indexeddb", "opfs", "memory"] as const satisfies readonly LoadOptions["store"][];
const ROUTES: Readonly<Record<string, keyof RoutingNumbers>> = {
  k: "k",
  "top-p": "p",
  threshold: "threshold",
  temperature: "temperature",
};
const ROUTE_NAMES = ["k", "top-p", "threshold", "temperature"];
/** Powers of 1024. */
const SUFFIXES = ["", "K", "M", "G"];

/** How the options are told that say which model. */
export const MODEL_USAGE = `  --model PATH|URL      a GGUF file (of a split one the first), or a folder with config.json and safetensors files,
                        or hf:owner/repo[/file-or-folder][@revision] of a hub, with a token from the environment
                        variable HF_TOKEN where that is set
  --hub-endpoint URL    the address of another hub or of a mirror
  --install FORM        what large matrices of floats become: ${INSTALL_FORMS.join(", ")} (default as-is)`;

/** The same of those that say where it is kept. */
export const LOAD_USAGE = `  --gpu-experts B|P%    GPU memory for experts: bytes, or a share of all experts such as 25% (default: what is left)
  --host-cache B        host memory for experts that may be wanted again (default 256M)
  --store NAME          where the model is kept: ${STORES.join(", ")} (default auto; with --backend node only memory)
  --policy NAME         which expert gives up its place: ${Object.keys(POLICIES).join(", ")} (default ${DEFAULTS.policy})
  --predictor NAME      what brings experts early: ${Object.keys(PREDICTORS).join(", ")}
                        (default ${DEFAULTS.predictor})
  --trace FILE          write the routes of all tokens, for npm run replay
`;

export const USAGE = `usage: npm run -s generate -- [options], by default with the embedded story model

${MODEL_USAGE}
  --prompt TEXT         text to continue (default: "${DEFAULT_PROMPT}")
  --tokens 1,2,3        token ids to continue, in place of --prompt
  --max-tokens N        tokens to generate (default ${DEFAULT_MAX_TOKENS}; 0 only evaluates the prompt)
  --temperature T       0 takes the most likely token (default 0)
  --top-k K             sample from the K most likely tokens; 0 from all (default 0)
  --top-p P             sample from the most likely tokens that make up P of the probability (default 1)
  --seed S              repeat a sampled text (default: a new one each time)
  --route NAME=N        route with another number than the model's, in all layers: ${ROUTE_NAMES.join(", ")}; may be
                        repeated, or several with commas: --route k=1,temperature=0.5
  --task N              for models with tasks: which one
  --experts 0,3         for models whose requests name the experts: ids for all layers, or for each, as 0,3;1;2,5
  --route-seed S        for models that draw their experts: the seed (default 0)
  --logits FILE         write the prompt's logits: f32 little-endian, positions x vocabulary
${LOAD_USAGE}  --json                print only one line at the end: {"tokens", "text", "stats"}
  --backend NAME        chromium (default), or node: Dawn for Node, where it finds an adapter
  --help                this text

Bytes take the suffixes K, M and G, powers of 1024.
`;

/** What says which model and where it is kept. */
export const LOAD_OPTIONS = {
  model: { type: "string" },
  "hub-endpoint": { type: "string" },
  "gpu-experts": { type: "string" },
  "host-cache": { type: "string" },
  store: { type: "string" },
  install: { type: "string" },
  policy: { type: "string" },
  predictor: { type: "string" },
  trace: { type: "string" },
} as const;

const OPTIONS = {
  ...LOAD_OPTIONS,
  prompt: { type: "string" },
  tokens: { type: "string" },
  "max-tokens": { type: "string" },
  temperature: { type: "string" },
  "top-k": { type: "string" },
  "top-p": { type: "string" },
  seed: { type: "string" },
  route: { type: "string", multiple: true },
  task: { type: "string" },
  experts: { type: "string" },
  "route-seed": { type: "string" },
  logits: { type: "string" },
  json: { type: "boolean" },
  backend: { type: "string" },
  help: { type: "boolean" },
} as const;

/** @throws UsageError naming the option and what it takes. */
export function parseOptions(args: readonly string[]): TerminalOptions {
  const values = parsed(args);
  if (values.prompt !== undefined && values.tokens !== undefined) {
    throw new UsageError("--prompt and --tokens exclude each other");
  }
  const topP = number("--top-p", values["top-p"], 1);
  if (topP <= 0 || topP > 1)
    throw new UsageError(`--top-p takes a number above 0 and at most 1, not ${topP}`);
  return {
    model: nonEmpty("--model", values.model),
    prompt:
      values.tokens === undefined ? (values.prompt ?? DEFAULT_PROMPT) : tokenIds("--tokens", values.tokens),
    maxTokens: integer("--max-tokens", values["max-tokens"], DEFAULT_MAX_TOKENS),
    temperature: number("--temperature", values.temperature, 0),
    topK: integer("--top-k", values["top-k"], 0),
    topP,
    seed: values.seed === undefined ? undefined : integer("--seed", values.seed, 0),
    route: routeRequest(values),
    load: loadOptions(values),
    routing: values.route && routeNumbers(values.route),
    logitsFile: nonEmpty("--logits", values.logits),
    traceFile: nonEmpty("--trace", values.trace),
    json: values.json ?? false,
    backend: backendOf(values.backend),
    help: values.help ?? false,
  };
}

/** What of it a model allows, the model says. */
function routeNumbers(given: readonly string[]): Partial<RoutingNumbers> {
  const pairs = given
    .flatMap((list) => list.split(","))
    .map((pair) => {
      const [, name = "", text = ""] = /^\s*([^=]*)=(.*)$/.exec(pair) ?? [];
      const number = Object.hasOwn(ROUTES, name) ? ROUTES[name] : undefined;
      if (number && /^(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text)) return [number, Number(text)];
      const names = ROUTE_NAMES.join(", ");
      throw new UsageError(`--route takes NAME=NUMBER with a name of ${names}, not ${JSON.stringify(pair)}`);
    });
  return Object.fromEntries(pairs);
}

export function backendOf(name: string | undefined): "chromium" | "node" {
  return oneOf("--backend", name, ["chromium", "node"]) ?? "chromium";
}

type LoadValues = { readonly [Option in keyof typeof LOAD_OPTIONS]?: string | undefined } & {
  readonly backend?: string | undefined;
};

export function loadOptions(values: LoadValues): JobLoad {
  const store = oneOf("--store", values.store, STORES);
  if (values.backend === "node" && store !== undefined && store !== "memory") {
    throw new UsageError(`--store takes only memory with --backend node, where there is no ${store}`);
  }
  const memory = given<MemoryBudget>({
    gpuExperts: bytesOrShare("--gpu-experts", values["gpu-experts"]),
    host: bytes("--host-cache", values["host-cache"]),
  });
  const experts = given<ExpertOptions>({
    policy: oneOf("--policy", values.policy, namesOf(POLICIES)),
    predictor: oneOf("--predictor", values.predictor, namesOf(PREDICTORS)),
    trace: values.trace === undefined ? undefined : true,
  });
  const install = oneOf("--install", values.install, INSTALL_FORMS);
  const endpoint = nonEmpty("--hub-endpoint", values["hub-endpoint"]);
  const hub = isHubName(values.model) ? hubOptions(endpoint) : undefined;
  if (endpoint !== undefined && !hub) throw new UsageError("--hub-endpoint is for --model hf:owner/repo");
  return given<JobLoad>({ memory, experts, store, install, hub });
}

function routeRequest(values: ReturnType<typeof parsed>): RouteRequest {
  const { task, experts, "route-seed": seed } = values;
  const layers = experts?.split(";").map((ids) => (ids.trim() === "" ? [] : tokenIds("--experts", ids)));
  return given<RouteRequest>({
    task: task === undefined ? undefined : integer("--task", task, 0),
    experts: layers && layers.length === 1 ? layers[0] : layers,
    routeSeed: seed === undefined ? undefined : integer("--route-seed", seed, 0),
  });
}

/** `values` without those that are undefined, which an optional property must not be. */
function given<T extends object>(values: { readonly [K in keyof T]?: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as T;
}

function namesOf<Name extends string>(table: Readonly<Record<Name, unknown>>): readonly Name[] {
  return Object.keys(table) as Name[];
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, strict: true }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

export function nonEmpty(option: string, value: string | undefined): string | undefined {
  if (value === "") throw new UsageError(`${option} is empty`);
  return value;
}

function number(option: string, text: string | undefined, fallback: number): number {
  if (text === undefined) return fallback;
  if (/^(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text) && Number.isFinite(Number(text))) return Number(text);
  throw new UsageError(`${option} takes a number of at least 0, not ${JSON.stringify(text)}`);
}

export function integer(option: string, text: string | undefined, fallback: number): number {
  if (text === undefined) return fallback;
  if (/^\d+$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text);
  throw new UsageError(`${option} takes a whole number of at least 0, not ${JSON.stringify(text)}`);
}

function oneOf<Name extends string>(
  option: string,
  text: string | undefined,
  names: readonly Name[],
): Name | undefined {
  const name = names.find((candidate) => candidate === text);
  if (name !== undefined || text === undefined) return name;
  throw new UsageError(`${option} takes ${names.join(", ")}, not ${JSON.stringify(text)}`);
}

function bytes(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const count = byteCount(text);
  if (count !== undefined) return count;
  throw new UsageError(`${option} takes bytes, such as 512M, not ${JSON.stringify(text)}`);
}

function bytesOrShare(option: string, text: string | undefined): MemoryBudget["gpuExperts"] {
  if (text === undefined) return undefined;
  const [, percent] = /^(\d+\.?\d*|\.\d+)%$/.exec(text) ?? [];
  if (percent !== undefined && Number(percent) <= 100) return text as `${number}%`;
  const count = byteCount(text);
  if (count !== undefined) return count;
  const takes = "bytes, such as 512M, or a share from 0% to 100%";
  throw new UsageError(`${option} takes ${takes}, not ${JSON.stringify(text)}`);
}

/** Whole bytes; undefined for what is no such number. */
function byteCount(text: string): number | undefined {
  const [, digits, suffix = ""] = /^(\d+|\d*\.\d+(?=[KMG]))([KMG]?)$/i.exec(text) ?? [];
  const count = Math.floor(Number(digits) * 1024 ** SUFFIXES.indexOf(suffix.toUpperCase()));
  return Number.isSafeInteger(count) ? count : undefined;
}

/** Ids between commas. */
export function tokenIds(option: string, list: string): number[] {
  return list.split(",").map((id) => integer(option, id.trim(), 0));
}
