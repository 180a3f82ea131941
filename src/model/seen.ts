import type { Ranking } from "../experts/predictor/predictor.ts";
import { rank } from "../experts/predictor/rank.ts";
import { RouteRows } from "../experts/routes.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { Readback } from "../gpu/readback.ts";
import { ABSENT } from "../kernels/route.ts";
import { INVALID_TOKEN } from "../kernels/sample.ts";
import { type MoeSpec, maxRoutes } from "./moe_plan.ts";
import type { ModelPlan } from "./plan.ts";
import { RECORD_BYTES, type Sampler } from "./sampling.ts";
import { guessSources, guessStride, moeSites, mostExperts, type State, type StateSizes } from "./state.ts";

/** Routers asked early name this share of top-k more; Fate finds that a few take top-k from 79 % right to 97 %. */
const EXTRA_SHARE = 0.5;
/** The fault word and the id, before all else. */
const HEADER_BYTES = 8;

/** Tokens of the sequence that are replayed together. */
export interface Chunk {
  readonly position: number;
  readonly tokens: number;
}

/** What a replay in pages left behind. */
export interface Seen {
  /** The site it stopped at, or a mark of `route`. */
  readonly fault: number;
  /** The token drawn, if it did not stop. */
  readonly id: number;
  readonly routes: RouteRows;
  /** What routers said of the input of the site it stopped at, or of the token drawn. */
  readonly ahead: readonly Ranking[];
  /** What routers said of every site's input, where that is traced. */
  readonly traced: readonly Ranking[];
}

/** Reads back what replays in pages leave: fault word, id, guesses, routes, and what `Sampler` adds. */
export class SeenReadback {
  readonly #state: State;
  readonly #sizes: StateSizes;
  readonly #sampler: Sampler;
  readonly #readback: Readback;
  readonly #guessBytes: number;
  readonly #guessStride: number;
  readonly #sites: readonly MoeSpec[];
  readonly #mostExperts: number;
  /** Of each site. */
  readonly #topK: readonly number[];

  constructor(gpu: Gpu, plan: ModelPlan, state: State, sizes: StateSizes, sampler: Sampler) {
    this.#state = state;
    this.#sizes = sizes;
    this.#sampler = sampler;
    this.#readback = gpu.readback("routes", seenBytes(plan, state, sizes));
    this.#guessStride = guessStride(plan, sizes);
    this.#guessBytes = guessSources(plan, sizes) * this.#guessStride;
    this.#sites = moeSites(plan);
    this.#mostExperts = mostExperts(plan);
    this.#topK = this.#sites.map(({ router, experts }) => maxRoutes(router, experts));
  }

  /** The staging buffer to copy into next. `read` gives it back. */
  take(): GPUBuffer {
    return this.#readback.take();
  }

  /** @param stride bytes from one site's routes to the next */
  copy(encoder: GPUCommandEncoder, staging: GPUBuffer, chunk: Chunk, stride: number): void {
    const { fault, tokens, guesses, routes } = this.#state;
    const { guesses: guessesAt, routes: routesAt, record: recordAt } = this.#places(stride);
    encoder.copyBufferToBuffer(fault, 0, staging, 0, 4);
    encoder.copyBufferToBuffer(tokens, 4 * (chunk.position + chunk.tokens), staging, 4, 4);
    const guessBytes = this.#guessBytes;
    if (guessBytes > 0) encoder.copyBufferToBuffer(guesses, 0, staging, guessesAt, guessBytes);
    encoder.copyBufferToBuffer(routes, 0, staging, routesAt, recordAt - routesAt);
    this.#sampler.copyRecord(encoder, staging, recordAt);
  }

  async read(staging: GPUBuffer, chunk: Chunk, stride: number): Promise<Seen> {
    const { routes: routesAt, record: recordAt } = this.#places(stride);
    const bytes = await this.#readback.read(staging, recordAt + this.#sampler.recordBytes);
    const [fault = ABSENT, id = INVALID_TOKEN] = new Uint32Array(bytes, 0, 2);
    if (fault === ABSENT) this.#sampler.readRecord(id, bytes, recordAt);
    const routes = new RouteRows(new Uint32Array(bytes, routesAt), stride / 4, this.#topK, chunk.tokens);
    const source = fault < this.#topK.length ? fault : -1;
    const traced = this.#sizes.isTraced
      ? this.#topK.flatMap((_, site) => this.#rankings(bytes, 1 + site, site))
      : [];
    return { fault, id, routes, ahead: this.#rankings(bytes, 0, source), traced };
  }

  /** Where in a staging buffer each part begins. */
  #places(stride: number) {
    const routes = HEADER_BYTES + this.#guessBytes;
    return { guesses: HEADER_BYTES, routes, record: routes + this.#topK.length * stride };
  }

  /** What routers said of the input of site `source`. The embedding, −1, says nothing of a site behind the first. */
  #rankings(bytes: ArrayBuffer, index: number, source: number): Ranking[] {
    const { lookahead } = this.#sizes;
    const experts = this.#mostExperts;
    const start = HEADER_BYTES + index * this.#guessStride;
    const last = Math.min(this.#sites.length - 1, source < 0 ? 0 : source + lookahead);
    return Array.from({ length: Math.max(0, lookahead > 0 ? last - source : 0) }, (_, d) => {
      const site = source + 1 + d;
      const logits = new Float32Array(bytes, start + 4 * d * experts, this.#sites[site]?.experts ?? 0);
      const topK = this.#topK[site] ?? 0;
      return rank(logits, site, source, topK + Math.ceil(EXTRA_SHARE * topK));
    });
  }
}

/** Bytes of each of its staging buffers. */
export function seenBytes(plan: ModelPlan, { routes }: State, sizes: StateSizes): number {
  return HEADER_BYTES + guessSources(plan, sizes) * guessStride(plan, sizes) + routes.size + RECORD_BYTES;
}
