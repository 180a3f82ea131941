/** The terminal: `npm run -s generate -- [options]`. Exit codes: 0, 1 for a failed run, 2 for wrong usage. */
import process from "node:process";
import type { Job, JobResult } from "./job.ts";
import { findModel } from "./terminal/model_place.ts";
import { parseOptions, type TerminalOptions, USAGE } from "./terminal/options.ts";
import { runOn, runProgram, writablePath } from "./terminal/program.ts";

async function run(options: TerminalOptions): Promise<JobResult> {
  const place = findModel(options.model);
  const logitsFile = writablePath("--logits", options.logitsFile);
  const traceFile = writablePath("--trace", options.traceFile);
  const { load, prompt, maxTokens, temperature, topK, topP, seed, route } = options;
  const wantsLogits = logitsFile !== undefined;
  const sampling = { maxTokens, temperature, topK, topP, ...(seed === undefined ? {} : { seed }) };
  const job: Job = {
    ...{ load, prompt, ...sampling, route, wantsLogits },
    ...(options.routing && { routing: options.routing }),
  };
  const onText = (piece: string) => {
    if (!options.json) process.stdout.write(piece);
  };
  return runOn(options.backend, { place, logitsFile, traceFile, onText }, job);
}

await runProgram(USAGE, async (args) => {
  const options = parseOptions(args);
  if (options.help) {
    process.stdout.write(USAGE);
    return;
  }
  const { tokens, text, stats } = await run(options);
  if (options.json) process.stdout.write(`${JSON.stringify({ tokens, text, stats })}\n`);
  else if (tokens.length > 0) process.stdout.write("\n");
});
