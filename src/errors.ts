/** The closed set of failures a caller can meet. Anything else that is thrown is a bug in Sluice. */
export type SluiceErrorCode =
  | "no-webgpu"
  | "limits-too-low"
  | "out-of-memory"
  | "device-lost"
  | "shader-error"
  | "bad-model-file"
  | "unsupported-model"
  | "network"
  | "storage-full"
  | "storage-corrupt"
  | "context-full"
  | "bad-request"
  | "aborted";

/** The numbers behind a failure, by name: `{ needed: 4096, available: 512 }`. */
export type ErrorDetails = Readonly<Record<string, string | number | boolean | null>>;

export interface SluiceErrorOptions {
  /** What the caller can do about it, as one sentence. */
  readonly remedy: string;
  readonly details?: ErrorDetails;
  readonly cause?: unknown;
}

/** Every error Sluice throws: a code to branch on, a message with the numbers, and a remedy. */
export class SluiceError extends Error {
  readonly code: SluiceErrorCode;
  readonly remedy: string;
  readonly details: ErrorDetails;

  constructor(code: SluiceErrorCode, message: string, options: SluiceErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "SluiceError";
    this.code = code;
    this.remedy = options.remedy;
    this.details = options.details ?? {};
  }

  /** What survives a worker boundary. */
  toWire(): WireError {
    const { code, message, remedy, details, stack } = this;
    return { code, message, remedy, details, ...(stack === undefined ? {} : { stack }) };
  }

  static fromWire(wire: WireError): SluiceError {
    const error = new SluiceError(wire.code, wire.message, { remedy: wire.remedy, details: wire.details });
    if (wire.stack !== undefined) error.stack = wire.stack;
    return error;
  }
}

export interface WireError {
  readonly code: SluiceErrorCode;
  readonly message: string;
  readonly remedy: string;
  readonly details: ErrorDetails;
  readonly stack?: string;
}

/** Throws `aborted` if `signal` has fired. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortedError(signal.reason);
}

export function abortedError(cause?: unknown): SluiceError {
  return new SluiceError("aborted", "the operation was aborted by its caller", {
    remedy: "Start it again when you need the result; what was already stored is kept.",
    cause,
  });
}

/**
 * A part of the library that is imported when it is needed.
 * @param what it does, for the message
 * @throws SluiceError `network` if it cannot be fetched
 */
export async function fetchPart<T>(what: string, importing: Promise<T>): Promise<T> {
  try {
    return await importing;
  } catch (cause) {
    throw new SluiceError("network", `the part of Sluice that ${what} could not be fetched`, {
      remedy: "Try again; the page's own files must stay reachable.",
      cause,
    });
  }
}

/** Stands for what a build leaves out of its first script, see `scripts/first_script.ts`. */
export function leftOut(): never {
  throw new SluiceError("unsupported-model", "this model needs what the first script leaves out", {
    remedy: "Load it with `loadModel`, which fetches the rest.",
    details: { script: "first" },
  });
}

export function isLeftOut(error: unknown): boolean {
  return error instanceof SluiceError && error.details.script === "first";
}
