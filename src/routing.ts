import type { EngineService, LayerRouting, RoutingNumbers } from "./api.ts";
import { SluiceError } from "./errors.ts";

/** `model.routing`: how a model chooses experts, and the numbers of that which may be changed while it runs. */
export class Routing {
  readonly #engine: EngineService;

  constructor(engine: EngineService) {
    this.#engine = engine;
  }

  /** How each layer with experts chooses them, in the order they run; none in a dense model. */
  get(): Promise<readonly LayerRouting[]> {
    return this.#engine.routing();
  }

  /**
   * Changes numbers from the next token on, in the middle of an answer too; nothing is compiled or loaded again. They hold
   * for every call until they are changed again or `reset`. What was computed under other numbers is not reused: the prompt
   * behind a change runs whole.
   * @param layers whose; default: all that have experts
   * @returns what `get` gives now
   * @throws SluiceError `bad-request` with the numbers that are allowed; nothing is changed then
   */
  async set(numbers: Partial<RoutingNumbers>, layers?: readonly number[]): Promise<readonly LayerRouting[]> {
    if (typeof numbers !== "object" || numbers === null) {
      throw badRequest("numbers", numbers, "Use an object, as { k: 1 }.");
    }
    requireLayers(layers);
    return this.#engine.changeRouting({ numbers, layers });
  }

  /** Back to the model's own numbers. @param layers whose; default: all */
  async reset(layers?: readonly number[]): Promise<readonly LayerRouting[]> {
    requireLayers(layers);
    return this.#engine.changeRouting({ layers });
  }
}

function requireLayers(layers: unknown): void {
  if (layers === undefined || Array.isArray(layers)) return;
  throw badRequest("layers", layers, "Use a list of layers, as [0].");
}

function badRequest(name: string, value: unknown, remedy: string): SluiceError {
  return new SluiceError("bad-request", `${name} is ${String(value)}`, { remedy });
}
