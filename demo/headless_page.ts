/**
 * The page that the terminal drives: it runs jobs as any page would, through the public interface, and hands text,
 * logits and traces to the process outside.
 */

import type { ErrorDetails, SluiceErrorCode } from "../src/index.ts";
import { loadModel, SluiceError } from "../src/index.ts";
import { type AnyJob, type ResultOf, runJob } from "./job.ts";

export interface Failure {
  /** Undefined: not one of ours, so a bug. */
  readonly code: SluiceErrorCode | undefined;
  readonly message: string;
  readonly remedy: string;
  readonly details: ErrorDetails;
  readonly stack: string;
}

export type Outcome =
  | { readonly result: ResultOf<AnyJob>; readonly failure?: undefined }
  | { readonly failure: Failure; readonly result?: undefined };

declare global {
  interface Window {
    /** Put there by the process outside before the page loads. */
    sluiceText: (piece: string) => Promise<void>;
    /** Loads the model at `url`, or that of a hub's name, runs `job`, POSTs what is for a file to `/logits` and `/trace`. Never rejects. */
    sluiceRun: (url: string, job: AnyJob) => Promise<Outcome>;
  }
}

window.sluiceRun = async (url, job) => {
  try {
    const load = () => loadModel(url, job.load);
    const result = await runJob(load, job, { onText, onLogits, onTrace });
    await lastText;
    return { result };
  } catch (error) {
    return { failure: describe(error) };
  }
};

/** Pieces arrive outside in order; the last one must be there before the result is. */
let lastText: Promise<void> = Promise.resolve();

function onText(piece: string): void {
  lastText = window.sluiceText(piece);
}

function onLogits(logits: Float32Array): Promise<void> {
  return post("logits", new Blob([logits as Float32Array<ArrayBuffer>]));
}

function onTrace(trace: string): Promise<void> {
  return post("trace", new Blob([trace]));
}

/** To the file that the option `name` gives. */
async function post(name: string, body: Blob): Promise<void> {
  const response = await fetch(`/${name}`, { method: "POST", body });
  if (response.ok) return;
  throw new SluiceError("bad-request", await response.text(), { remedy: `Choose another --${name} file.` });
}

function describe(error: unknown): Failure {
  const { message, stack = "" } = error instanceof Error ? error : new Error(String(error));
  if (!(error instanceof SluiceError)) return { code: undefined, message, remedy: "", details: {}, stack };
  return { code: error.code, message, remedy: error.remedy, details: error.details, stack };
}
