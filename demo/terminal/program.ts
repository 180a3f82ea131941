/** What the terminal's programs that run a model share: where a job runs, and how the process ends. */
import { accessSync, constants } from "node:fs";
import { dirname, resolve } from "node:path";
import process from "node:process";
import { SluiceError } from "../../src/errors.ts";
import type { AnyJob, ResultOf } from "../job.ts";
import type { HeadlessOptions } from "./chromium.ts";
import { exit, explain } from "./exit.ts";
import { callerFolder } from "./model_place.ts";

const EXIT_INTERRUPTED = 130;

/** Undoes what a run started, however the run ends. */
let cleanUp: () => Promise<void> = async () => {};

/** Runs a job in headless Chromium, or in this process. */
export async function runOn<J extends AnyJob>(
  backend: "chromium" | "node",
  surroundings: HeadlessOptions,
  job: J,
): Promise<ResultOf<J>> {
  if (backend === "node") {
    const { runInNode } = await import("./dawn.ts");
    return runInNode(surroundings, job);
  }
  const { openHeadless } = await import("./chromium.ts");
  const browser = await openHeadless(surroundings);
  cleanUp = browser.close;
  return browser.run(job);
}

/** The file that an option gives, seen from whoever called. @throws SluiceError `bad-request` if it cannot be written */
export function writablePath(option: string, file: string | undefined): string | undefined {
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

/** Runs a program to the end of the process. Exit codes: 0, 1 for a failed run, 2 for wrong usage. */
export async function runProgram(
  usage: string,
  program: (args: readonly string[]) => Promise<void>,
): Promise<void> {
  let isInterrupted = false;
  process.once("SIGINT", () => {
    isInterrupted = true;
    void cleanUp().finally(() => process.exit(EXIT_INTERRUPTED));
  });
  // A reader such as `head` may leave before the story ends.
  process.stdout.on("error", () => void cleanUp().finally(() => process.exit(0)));
  let code = 0;
  try {
    await program(process.argv.slice(2));
  } catch (error) {
    code = isInterrupted ? EXIT_INTERRUPTED : explain(error, usage);
  } finally {
    await cleanUp();
  }
  await exit(code);
}
