import type { EngineRequest } from "./api.ts";
import { serveEngine } from "./serve.ts";
import { type StoreRequest, serveStore } from "./store/serve.ts";

/** The engine and the store share code, so they share a script; what a worker is sent first says which it is. */
export function serveEither(): void {
  addEventListener(
    "message",
    ({ data }: MessageEvent<EngineRequest | StoreRequest>) =>
      "kind" in data ? serveStore(data) : serveEngine(data),
    { once: true },
  );
}
