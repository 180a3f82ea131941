import { abortedError, type SluiceError, throwIfAborted } from "../errors.ts";

const RETRY_DELAYS_MS = [100, 300, 900];

/** A failure worth another attempt; `error` is what the caller gets when the attempts run out. */
export class Transient extends Error {
  readonly error: SluiceError;

  constructor(error: SluiceError) {
    super(error.message, { cause: error });
    this.error = error;
  }
}

/**
 * Runs `attempt` until it ends with anything but `Transient`, at most once more than there are delays.
 * @throws SluiceError `aborted` as soon as `signal` fires, else what the last attempt threw.
 */
export async function withRetries<T>(signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
  for (let tried = 0; ; tried++) {
    throwIfAborted(signal);
    try {
      return await attempt();
    } catch (error) {
      throwIfAborted(signal);
      if (!(error instanceof Transient)) throw error;
      const delay = RETRY_DELAYS_MS[tried];
      if (delay === undefined) throw error.error;
      await sleep(delay, signal);
    }
  }
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(abortedError(signal.reason));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal.addEventListener("abort", stop, { once: true });
  });
}
