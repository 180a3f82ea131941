import type { RouteRequest } from "../api.ts";
import { type ErrorDetails, SluiceError } from "../errors.ts";
import type { SiteRoute } from "../experts/predictor/predictor.ts";
import { REQUEST_HEADER_WORDS } from "../kernels/request_logits.ts";
import { align } from "../quant/layout.ts";
import type { MoeSpec } from "./moe_plan.ts";
import { type ModelPlan, moeLayers } from "./plan.ts";

/** No adapter wants bindings to start at more than this; see `minStorageBufferOffsetAlignment`. */
const BINDING_ALIGNMENT_BYTES = 256;
const MOST_SEED = 2 ** 32 - 1;

/** What a request says of the routes of a model, checked. */
export interface RoutePlan {
  readonly seed: number;
  readonly task: number;
  /** Of each site; undefined where its router asks for none. */
  readonly experts: readonly (SiteRoute | undefined)[];
}

/** Some router reads what the request says. */
export function asksRequests(plan: ModelPlan): boolean {
  return moeLayers(plan).some(({ moe }) => ["task", "given", "draw"].includes(moe.router.input));
}

/** Bytes of a site's row, and from one row to the next. */
export function requestBytes(plan: ModelPlan): number {
  const experts = Math.max(1, ...moeLayers(plan).map(({ moe }) => moe.experts));
  return 4 * (REQUEST_HEADER_WORDS + Math.ceil(experts / 32));
}

export function requestStride(plan: ModelPlan): number {
  return align(requestBytes(plan), BINDING_ALIGNMENT_BYTES);
}

/**
 * What `request` says, for every site.
 * @throws SluiceError `bad-request` if a router needs what is not there, if nobody asks for what is, or with the layer
 * and the range of what is wrong
 */
export function planRoutes(plan: ModelPlan, request: RouteRequest): RoutePlan {
  const layers = moeLayers(plan);
  const has = (input: string) => layers.some(({ moe }) => moe.router.input === input);
  const refuse = (name: string, what: string) =>
    badRequest(`${plan.name} routes by no ${what}`, `Leave ${name} out.`, {
      [name]: String(request[name as keyof RouteRequest]),
    });
  if (request.task !== undefined && !has("task")) throw refuse("task", "task");
  if (request.experts !== undefined && !has("given")) throw refuse("experts", "experts that a request names");
  if (request.routeSeed !== undefined && !has("draw")) throw refuse("routeSeed", "draw");
  const { routeSeed: seed = 0 } = request;
  if (!isWhole(seed, MOST_SEED)) throw outOfRange("routeSeed", seed, MOST_SEED);
  return { seed, task: has("task") ? taskOf(layers, request) : 0, experts: expertsOf(layers, request) };
}

type MoeLayer = ReturnType<typeof moeLayers>[number];

function taskOf(layers: readonly MoeLayer[], { task }: RouteRequest): number {
  const counts = layers.flatMap(({ moe }) => (moe.router.tasks ? [moe.router.tasks.count] : []));
  const most = Math.min(...counts) - 1;
  if (task === undefined) {
    throw badRequest("the request names no task", `Give task, a whole number from 0 to ${most}.`, { most });
  }
  if (!isWhole(task, most)) throw outOfRange("task", task, most);
  return task;
}

/** One set for all layers, or a set for each layer whose experts requests name. */
function expertsOf(layers: readonly MoeLayer[], { experts }: RouteRequest): (SiteRoute | undefined)[] {
  const asking = layers.filter(({ moe }) => moe.router.input === "given");
  if (asking.length === 0) return layers.map(() => undefined);
  if (experts === undefined) {
    throw badRequest(
      "the request names no experts",
      "Give experts: ids for all layers, or a list of ids for each.",
      {
        layers: asking.length,
      },
    );
  }
  const isOne = !experts.some((ids) => Array.isArray(ids));
  if (!isOne && experts.length !== asking.length) {
    throw badRequest(
      `experts has ${experts.length} lists`,
      `Give one for each of the ${asking.length} layers with experts, or one for all.`,
      { lists: experts.length, layers: asking.length },
    );
  }
  let next = 0;
  return layers.map(({ layer, moe }) => {
    if (moe.router.input !== "given") return undefined;
    const ids = isOne ? experts : experts[next++];
    return checkedIds(layer, moe, ids);
  });
}

function checkedIds(layer: number, { experts, router }: MoeSpec, ids: unknown): SiteRoute {
  const most = ("kMax" in router.selection ? router.selection.kMax : undefined) ?? experts;
  if (!Array.isArray(ids)) {
    throw badRequest(`experts of layer ${layer} is ${String(ids)}`, "Give a list of ids.", { layer });
  }
  const wrong: unknown = ids.find((id) => !isWhole(id, experts - 1));
  if (wrong !== undefined) throw outOfRange(`expert of layer ${layer}`, wrong, experts - 1, { layer });
  const distinct = [...new Set(ids as number[])].sort((a, b) => a - b);
  if (distinct.length <= most) return distinct;
  throw badRequest(`layer ${layer} is given ${distinct.length} experts`, `Give ${most} at most.`, {
    ...{ layer, experts: distinct.length, most },
  });
}

/** Rows for `request_logits`, `requestStride` bytes apart. */
export function requestRows(plan: ModelPlan, routes: RoutePlan): Uint32Array<ArrayBuffer> {
  const stride = requestStride(plan) / 4;
  const words = new Uint32Array(stride * moeLayers(plan).length);
  for (const [site, experts] of routes.experts.entries()) {
    words.set([seedOf(routes.seed, site), routes.task], site * stride);
    for (const expert of experts ?? []) {
      const at = site * stride + REQUEST_HEADER_WORDS + Math.floor(expert / 32);
      words[at] = (words[at] as number) | (1 << (expert % 32));
    }
  }
  return words;
}

/** Every expert that the tokens from `position` on need of each site; undefined where only the model knows. */
export function knownRoutes(
  plan: ModelPlan,
  { seed, experts }: RoutePlan,
  position: number,
  tokens: number,
): (SiteRoute | undefined)[] {
  return moeLayers(plan).map(({ moe }, site) => {
    if (moe.router.input !== "draw") return experts[site];
    const places =
      moe.router.draws === "token" ? Array.from({ length: tokens }, (_, t) => position + t) : [0];
    return [...new Set(places.map((place) => drawnExpert(seed, site, place, moe.experts)))];
  });
}

/** The expert that `request_logits` draws: of a position, or of place 0 for a whole sequence. */
export function drawnExpert(seed: number, site: number, place: number, experts: number): number {
  return hash((seedOf(seed, site) ^ hash(place)) >>> 0) % experts;
}

function seedOf(seed: number, site: number): number {
  return hash((seed ^ hash(site)) >>> 0);
}

/** `shaders/lib/hash.wgsl`. */
function hash(value: number): number {
  const state = (Math.imul(value, 747796405) + 2891336453) >>> 0;
  const word = Math.imul((state >>> ((state >>> 28) + 4)) ^ state, 277803737) >>> 0;
  return ((word >>> 22) ^ word) >>> 0;
}

function isWhole(value: unknown, most: number): value is number {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) <= most;
}

function outOfRange(name: string, value: unknown, most: number, details: ErrorDetails = {}): SluiceError {
  return badRequest(`${name} is ${String(value)}`, `Use a whole number from 0 to ${most}.`, {
    ...details,
    most,
  });
}

function badRequest(message: string, remedy: string, details: ErrorDetails): SluiceError {
  return new SluiceError("bad-request", message, { remedy, details });
}
