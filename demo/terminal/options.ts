import { parseArgs } from "node:util";

export interface TerminalOptions {
  readonly model: string | undefined;
  readonly prompt: string | readonly number[];
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly seed: number | undefined;
  readonly logitsFile: string | undefined;
  readonly json: boolean;
  readonly backend: "chromium" | "node";
  readonly help: boolean;
}

/** Wrong usage, as opposed to a run that fails: exit code 2. */
export class UsageError extends Error {}

export const DEFAULT_PROMPT = "once upon a time, there was a little";
const DEFAULT_MAX_TOKENS = 128;

export const USAGE = `usage: npm run -s generate -- [options]

  --model PATH|URL      model file (default: the embedded story model)
  --prompt TEXT         text to continue (default: "${DEFAULT_PROMPT}")
  --tokens 1,2,3        token ids to continue, in place of --prompt
  --max-tokens N        tokens to generate (default ${DEFAULT_MAX_TOKENS}; 0 only evaluates the prompt)
  --temperature T       0 takes the most likely token (default 0)
  --top-k K             sample from the K most likely tokens; 0 from all (default 0)
  --top-p P             sample from the most likely tokens that make up P of the probability (default 1)
  --seed S              repeat a sampled text (default: a new one each time)
  --logits FILE         write the prompt's logits: f32 little-endian, positions x vocabulary
  --json                print only one line at the end: {"tokens", "text", "stats"}
  --backend NAME        chromium (default), or node: Dawn for Node, where it finds an adapter
  --help                this text
`;

const OPTIONS = {
  model: { type: "string" },
  prompt: { type: "string" },
  tokens: { type: "string" },
  "max-tokens": { type: "string" },
  temperature: { type: "string" },
  "top-k": { type: "string" },
  "top-p": { type: "string" },
  seed: { type: "string" },
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
  const { backend = "chromium" } = values;
  if (backend !== "chromium" && backend !== "node") {
    throw new UsageError(`--backend is chromium or node, not ${JSON.stringify(backend)}`);
  }
  return {
    model: nonEmpty("--model", values.model),
    prompt: values.tokens === undefined ? (values.prompt ?? DEFAULT_PROMPT) : tokenIds(values.tokens),
    maxTokens: integer("--max-tokens", values["max-tokens"], DEFAULT_MAX_TOKENS),
    temperature: number("--temperature", values.temperature, 0),
    topK: integer("--top-k", values["top-k"], 0),
    topP,
    seed: values.seed === undefined ? undefined : integer("--seed", values.seed, 0),
    logitsFile: nonEmpty("--logits", values.logits),
    json: values.json ?? false,
    backend,
    help: values.help ?? false,
  };
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, strict: true }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function nonEmpty(option: string, value: string | undefined): string | undefined {
  if (value === "") throw new UsageError(`${option} is empty`);
  return value;
}

function number(option: string, text: string | undefined, fallback: number): number {
  if (text === undefined) return fallback;
  if (/^(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text) && Number.isFinite(Number(text))) return Number(text);
  throw new UsageError(`${option} takes a number of at least 0, not ${JSON.stringify(text)}`);
}

function integer(option: string, text: string | undefined, fallback: number): number {
  if (text === undefined) return fallback;
  if (/^\d+$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text);
  throw new UsageError(`${option} takes a whole number of at least 0, not ${JSON.stringify(text)}`);
}

function tokenIds(list: string): number[] {
  return list.split(",").map((id) => integer("--tokens", id.trim(), 0));
}
