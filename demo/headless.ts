/** The terminal: `npm run -s generate -- [options]`. Exit codes: 0, 1 for a failed run, 2 for wrong usage. */
import { accessSync, constants } from "node:fs";
import { dirname, resolve } from "node:path";
import process from "node:process";
import { SluiceError } from "../src/errors.ts";
import type { Job, JobResult } from "./job.ts";
import { exit, explain } from "./terminal/exit.ts";
import { callerFolder, findModel } from "./terminal/model_place.ts";
import { parseOptions, type TerminalOptions, USAGE } from "./terminal/options.ts";

const EXIT_INTERRUPTED = 130;

/** Undoes what a run started, however the run ends. */
let cleanUp: () => Promise<void> = async () => {};
let isInterrupted = false;

async function run(options: TerminalOptions): Promise<JobResult> {
  const place = findModel(options.model);
  const logitsFile = writablePath("--logits", options.logitsFile);
  const traceFile = writablePath("--trace", options.traceFile);
  const { load, prompt, maxTokens, temperature, topK, topP, seed, route } = options;
  const wantsLogits = logitsFile !== undefined;
  const sampling = { maxTokens, temperature, topK, topP, ...(seed === undefined ? {} : { seed }) };
  const job: Job = { load, prompt, ...sampling, route, wantsLogits };
  const onText = (piece: string) => {
    if (!options.json) process.stdout.write(piece);
  };
  const surroundings = { place, logitsFile, traceFile, onText };
  if (options.backend === "node") {
    const { runInNode } = await import("./terminal/dawn.ts");
    return runInNode(surroundings, job);
  }
  const { openHeadless } = await import("./terminal/chromium.ts");
  const browser = await openHeadless(surroundings);
  cleanUp = browser.close;
  return browser.run(job);
}

function writablePath(option: string, file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  const path = resolve(callerFolder, file);
  try {
    accessSync(dirname(path), constants.W_OK);
  } catch (cause) {
    throw new SluiceError("bad-request", `cannot write ${path}`, {
      remedy: `Give ${option} a file in a folder that exists and may be written to.`,
      cause,
    });
  }
  return path;
}

async function main(args: readonly string[]): Promise<number> {
  try {
    const options = parseOptions(args);
    if (options.help) {
      process.stdout.write(USAGE);
      return 0;
    }
    const { tokens, text, stats } = await run(options);
    if (options.json) process.stdout.write(`${JSON.stringify({ tokens, text, stats })}\n`);
    else if (tokens.length > 0) process.stdout.write("\n");
    return 0;
  } catch (error) {
    return isInterrupted ? EXIT_INTERRUPTED : explain(error, USAGE);
  } finally {
    await cleanUp();
  }
}

process.once("SIGINT", () => {
  isInterrupted = true;
  void cleanUp().finally(() => process.exit(EXIT_INTERRUPTED));
});
// A reader such as `head` may leave before the story ends.
process.stdout.on("error", () => void cleanUp().finally(() => process.exit(0)));
await exit(await main(process.argv.slice(2)));
