import { type ErrorDetails, SluiceError } from "../errors.ts";

/** `bad-model-file`: `what` says what is wrong with the file, as the end of a sentence. */
export function badFile(name: string, what: string, details: ErrorDetails, cause?: unknown): SluiceError {
  return new SluiceError("bad-model-file", `${name} is not a sound model file: ${what}`, {
    remedy: "The file is damaged or incomplete: get it again.",
    details: { name, ...details },
    cause,
  });
}
