import { type TransferHandler, transferHandlers } from "comlink";
import { SluiceError, type WireError } from "./errors.ts";

const KEY = "throw";

/** Either our error, or what comlink makes of any other thrown value. */
interface WireThrown {
  readonly sluice?: WireError;
  readonly other?: unknown;
}

let registered = false;

/**
 * Makes errors cross workers whole: a SluiceError arrives as one, with code, remedy and details; others keep
 * name, message and stack. Call it on both sides before the first message. Further calls do nothing.
 */
export function registerWire(): void {
  if (registered) return;
  const plain = transferHandlers.get(KEY);
  if (!plain) throw new Error("this version of comlink has no transfer handler for errors");
  transferHandlers.set(KEY, keepingSluiceErrors(plain));
  registered = true;
}

type ThrowHandler = TransferHandler<unknown, unknown>;

function keepingSluiceErrors(plain: ThrowHandler): ThrowHandler {
  return {
    canHandle: plain.canHandle,
    serialize(thrown): [WireThrown, Transferable[]] {
      const error = (thrown as { readonly value: unknown }).value;
      if (error instanceof SluiceError) return [{ sluice: error.toWire() }, []];
      const [other, transferables] = plain.serialize(thrown);
      return [{ other }, transferables];
    },
    deserialize(message) {
      const { sluice, other } = message as WireThrown;
      if (sluice) throw SluiceError.fromWire(sluice);
      return plain.deserialize(other);
    },
  };
}
