import { expose, proxy, transfer } from "comlink";
import type { EngineRequest, EngineService } from "./api.ts";
import { Engine } from "./engine.ts";
import { Gpu } from "./gpu/gpu.ts";
import { connectStore } from "./store/serve.ts";
import { registerWire } from "./wire.ts";

/** Speaks for a new engine on a port, with its store behind another. */
export function serveEngine({ port, store }: EngineRequest): void {
  registerWire();
  const engine = new Engine(connectStore(store), () => Gpu.request());
  const service: EngineService = {
    load: (spec, options, onProgress) => engine.load(spec, options, onProgress),
    generate: async (prompt, options) => proxy(await engine.generate(prompt, options)),
    logits: async (prompt, route) => {
      const rows = await engine.logits(prompt, route);
      return transfer(rows, [rows.buffer]);
    },
    forecast: (points, options) => engine.forecast(points, options),
    stats: () => engine.stats(),
    experts: () => engine.experts(),
    routing: () => engine.routing(),
    changeRouting: (change) => engine.changeRouting(change),
    saveConversation: (name, data) => engine.saveConversation(name, data),
    restoreConversation: (name) => engine.restoreConversation(name),
    conversations: () => engine.conversations(),
    removeConversation: (name) => engine.removeConversation(name),
    trace: () => engine.trace(),
    install: () => engine.install(),
    abort: () => engine.abort(),
    dispose: () => engine.dispose(),
  };
  expose(service, port);
}
