import type { EngineRequest } from "../src/api.ts";
import { serveEngine } from "../src/serve.ts";

addEventListener("message", (event: MessageEvent<EngineRequest>) => serveEngine(event.data), { once: true });
