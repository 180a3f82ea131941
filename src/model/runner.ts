import type { TokenLogprobs } from "../api.ts";
import type { Pager } from "../experts/pager.ts";
import type { Ranking, SiteRoute } from "../experts/predictor/predictor.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { PARAMS_STRIDE_BYTES, ParamArena } from "../gpu/params.ts";
import { replay } from "../gpu/program.ts";
import { type Readback, STAGING_BUFFERS } from "../gpu/readback.ts";
import { ABSENT, DAMAGED } from "../kernels/route.ts";
import { INVALID_TOKEN } from "../kernels/sample.ts";
import { CachedTokens } from "./cached_tokens.ts";
import { buildPrograms, type Programs } from "./forward.ts";
import { damaged, damagedRouter, PagedRuns, type Run } from "./paged_runs.ts";
import type { ModelPlan } from "./plan.ts";
import { knownRoutes, type RoutePlan, requestRows } from "./route_request.ts";
import type { Routing } from "./routing.ts";
import { GREEDY, RECORD_BYTES, Sampler, type Sampling, samplerBytes } from "./sampling.ts";
import { type Chunk, SeenReadback, seenBytes } from "./seen.ts";
import { copyAside, isRecurrent, positionWords, routeStride, type State, type StateSizes } from "./state.ts";
import type { Weights } from "./weights.ts";

/** Tokens decoded for each readback when no expert can be missing. */
const BATCH_TOKENS = 8;
/** Batches submitted ahead then, so that the GPU works while ids travel. */
const BATCHES_AHEAD = 2;
const REPLAYS_IN_FLIGHT = BATCHES_AHEAD * BATCH_TOKENS;
/** Replays a model's programs: prompts in, ids or logits out. Creates no GPU object after construction but what `Sampler` does. */
export class Runner {
  readonly cached: CachedTokens;
  readonly #gpu: Gpu;
  readonly #plan: ModelPlan;
  readonly #state: State;
  readonly #sizes: StateSizes;
  /** Numbers of a prompt that make a position. */
  readonly #words: number;
  readonly #pager: Pager;
  readonly #weights: Weights;
  readonly #routing: Routing;
  readonly #programs: Programs;
  readonly #sampler: Sampler;
  readonly #params: ParamArena;
  /** Fault word, ids, and what `Sampler` adds. */
  readonly #ids: Readback;
  readonly #logits: Readback;
  readonly #paged: PagedRuns;
  /** Bytes from one site's routes to the next. */
  readonly #routeStrides: { readonly prefill: number; readonly decode: number };
  #route: RoutePlan | undefined;
  /** What of it the GPU was told. */
  #requestRows: Uint32Array<ArrayBuffer>;
  /** What is known of the token that was drawn last. */
  #drawn: { readonly position: number; readonly id: number; readonly ahead: readonly Ranking[] } | undefined;

  constructor(
    gpu: Gpu,
    plan: ModelPlan,
    weights: Weights,
    state: State,
    sizes: StateSizes,
    pager: Pager,
    routing: Routing,
  ) {
    this.cached = new CachedTokens(isRecurrent(plan), () => routing.key);
    this.#weights = weights;
    this.#routing = routing;
    this.#gpu = gpu;
    this.#plan = plan;
    this.#state = state;
    this.#sizes = sizes;
    this.#words = positionWords(plan);
    this.#pager = pager;
    this.#programs = buildPrograms(gpu, plan, weights, state, sizes);
    this.#sampler = new Sampler(gpu, plan, state, this.#programs);
    this.#params = new ParamArena(gpu, REPLAYS_IN_FLIGHT);
    const bytes = readbackSizes(plan, state, sizes);
    this.#requestRows = new Uint32Array((state.request?.size ?? 0) / 4);
    this.#ids = gpu.readback("ids", bytes.ids);
    this.#logits = gpu.readback("logits", bytes.logits);
    this.#routeStrides = { prefill: routeStride(plan, sizes.chunk), decode: routeStride(plan, 1) };
    this.#paged = new PagedRuns({
      ...{ gpu, pager, ask: this.#programs.ask },
      seen: new SeenReadback(gpu, plan, state, sizes, this.#sampler),
      submit: (encode, copy) => this.#submit(encode, copy),
      resetFault: () => this.#resetFault(),
    });
  }

  /** To be called once, when the dense weights are there and everything has compiled. */
  async setUp(): Promise<void> {
    await this.#gpu.checked(() => this.#submit((run) => run(this.#programs.setup, {})));
  }

  /** What of the latest request the cache depends on beside its ids; nothing in most models. */
  get requestRows(): Uint32Array<ArrayBuffer> {
    return this.#requestRows;
  }

  /** Says how the prompts to come are routed. What the cache holds by other routes is forgotten. */
  request(route: RoutePlan): void {
    this.#route = route;
    if (!this.#state.request) return;
    const rows = requestRows(this.#plan, route);
    if (rows.every((word, i) => word === this.#requestRows[i])) return;
    this.cached.replace([]);
    this.bringRequest(rows);
  }

  /** As `requestRows` gave it for what the cache now holds. */
  bringRequest(rows: Uint32Array<ArrayBuffer>): void {
    this.#requestRows = rows;
    if (this.#state.request) this.#gpu.upload(this.#state.request, 0, rows);
  }

  /** Tokens that the next `decode` may be asked for. */
  get batchTokens(): number {
    return this.#isResident ? BATCH_TOKENS : 1;
  }

  /** Calls of `decode` that may be under way together. */
  get batchesAhead(): number {
    return this.#isResident ? BATCHES_AHEAD : 1;
  }

  /** Of the token that was drawn last, if its request asked for them; one token is decoded at a time then. */
  get logprobs(): TokenLogprobs | undefined {
    return this.#sampler.logprobs;
  }

  /**
   * Puts `prompt` through the model and draws the token that follows it.
   * @param from how many of its tokens are in the cache already, less than all
   */
  async prefill(
    prompt: readonly number[],
    sampling: Sampling,
    signal: AbortSignal,
    from = 0,
  ): Promise<number> {
    let id = INVALID_TOKEN;
    await this.#sampler.begin(prompt, sampling);
    if (this.cached.goBack(from)) await this.#gpu.checked(() => copyAside(this.#gpu, this.#state, "back"));
    const alone = this.cached.isRecurrent ? prompt.length - 1 : 0;
    for (const chunk of this.#chunks(prompt, signal, from, alone)) {
      const isLast = chunk.position + chunk.tokens === prompt.length;
      if (alone > 0 && chunk.position === alone) {
        await this.#gpu.checked(() => copyAside(this.#gpu, this.#state, "there"));
        this.cached.setAside();
      }
      id = await this.#feed(prompt, chunk, signal, isLast ? sampling : undefined);
    }
    return id;
  }

  /**
   * Decodes `count` ≤ `batchTokens` tokens, feeding the one at `position` first. In a batch the work is submitted
   * before this returns; the ids come when it is done.
   */
  async decode(position: number, count: number, sampling: Sampling): Promise<number[]> {
    if (sampling.isConstrained) this.#sampler.allow(sampling);
    this.#begin(position, count);
    const ids = this.#isResident
      ? await this.#decodeBatch(position, count, sampling)
      : [await this.#decodePaged(position, sampling)];
    this.cached.decoded(position, ids);
    return ids;
  }

  #decodeBatch(position: number, count: number, sampling: Sampling): Promise<number[]> {
    this.#pager.ranResident(count);
    return this.#gpu.checked(() =>
      this.#submitForIds(position + 1, count, (run) => {
        for (let i = 0; i < count; i++) {
          run(this.#sampler.decode.steps, { position: position + i, tokens: 1 }, sampling);
        }
      }),
    );
  }

  /** Logits of every position of `prompt`, row by row: [positions, vocabulary]. */
  async logits(prompt: readonly number[], signal: AbortSignal): Promise<Float32Array<ArrayBuffer>> {
    const { vocabulary } = this.#plan;
    const all = new Float32Array((prompt.length / this.#words) * vocabulary);
    for (const chunk of this.#chunks(prompt, signal)) {
      await this.#feed(prompt, chunk, signal);
      for (let row = 0; row < chunk.tokens; row++) {
        signal.throwIfAborted();
        all.set(await this.#logitsOf(chunk, row), (chunk.position + row) * vocabulary);
      }
    }
    return all;
  }

  /** Routing changes between tokens, never within one: one that stops goes on as it began. */
  #begin(position: number, tokens: number): void {
    if (this.#routing.show(this.#weights)) this.#pager.rerouted((site) => this.#routing.k(site));
    this.cached.begin(position, tokens);
  }

  /** Logits behind the last position of `prompt`, of which the first `from` are in the cache already, less than all. */
  async lastLogits(prompt: readonly number[], signal: AbortSignal, from = 0): Promise<Float32Array> {
    let last: Chunk = { position: 0, tokens: 0 };
    for (const chunk of this.#chunks(prompt, signal, from)) {
      await this.#feed(prompt, chunk, signal);
      last = chunk;
    }
    return this.#logitsOf(last, last.tokens - 1);
  }

  /** Of a row of the chunk that has just run. */
  async #logitsOf({ position }: Chunk, row: number): Promise<Float32Array> {
    const bytes = await this.#gpu.checked(() => {
      const staging = this.#logits.take();
      this.#submit(
        (run) => run(this.#programs.logits, { position, tokens: 1, row }),
        (encoder) => {
          encoder.copyBufferToBuffer(this.#state.fault, 0, staging, 0, 4);
          encoder.copyBufferToBuffer(this.#state.logits, 0, staging, 4, 4 * this.#plan.vocabulary);
        },
      );
      return this.#logits.read(staging, 4 * (1 + this.#plan.vocabulary));
    });
    requireNoFault(new Uint32Array(bytes, 0, 1));
    return new Float32Array(bytes, 4);
  }

  /** No expert can be missing, and nobody wants to know the routes. */
  get #isResident(): boolean {
    return this.#pager.stream.isComplete && !this.#pager.wantsRoutes;
  }

  /** @param alone a position that begins a chunk, if it is not 0 */
  *#chunks(prompt: readonly number[], signal: AbortSignal, from = 0, alone = 0): Generator<Chunk, void> {
    this.#gpu.upload(this.#state.tokens, 0, Uint32Array.from(prompt));
    this.#drawn = undefined;
    this.#resetFault();
    const positions = prompt.length / this.#words;
    for (let position = from; position < positions; ) {
      signal.throwIfAborted();
      const end = position < alone ? alone : positions;
      const tokens = Math.min(this.#sizes.chunk, end - position);
      yield { position, tokens };
      position += tokens;
    }
  }

  /** Runs a chunk; with `sampling` it gives the token drawn behind it. */
  async #feed(
    prompt: readonly number[],
    chunk: Chunk,
    signal: AbortSignal,
    sampling?: Sampling,
  ): Promise<number> {
    const { position, tokens } = chunk;
    const ids = this.#idsOf(prompt, chunk);
    this.#begin(position, tokens);
    const id = await this.#runChunk(ids, chunk, signal, sampling);
    this.cached.wrote(position, ids, sampling && id);
    return id;
  }

  /** Of a point of one number its bits; one of several has no id by which the cache would know it again. */
  #idsOf(prompt: readonly number[], { position, tokens }: Chunk): readonly number[] {
    if (this.#words > 1) return new Array<number>(tokens).fill(-1);
    return prompt.slice(position, position + tokens);
  }

  async #runChunk(
    ids: readonly number[],
    chunk: Chunk,
    signal: AbortSignal,
    sampling: Sampling | undefined,
  ): Promise<number> {
    const { prefill, next } = this.#programs;
    const end = chunk.position + chunk.tokens;
    const last = { ...chunk, tokens: 1, row: chunk.tokens - 1 };
    const runHead = (run: Run) => {
      if (sampling) run(this.#sampler.head, last, sampling);
    };
    if (this.#isResident) {
      const [id] = await this.#gpu.checked(() => {
        const encode = (run: Run) => {
          run(prefill.steps, chunk);
          runHead(run);
        };
        if (sampling) return this.#submitForIds(end, 1, encode);
        this.#submit(encode);
        // The queue may not grow with the prompt.
        return this.#gpu.done().then(() => [INVALID_TOKEN]);
      });
      return id as number;
    }
    const seen = await this.#paged.run({
      start: (known) => this.#pager.startChunk(chunk.tokens, known),
      ...{ program: prefill, chunk, known: this.#knownOf(chunk), stride: this.#routeStrides.prefill, signal },
      behind: (run) => {
        runHead(run);
        if (sampling) run(next, last);
      },
    });
    this.#pager.finished(ids, seen.routes);
    this.#drawn = { position: end, id: seen.id, ahead: seen.ahead };
    return seen.id;
  }

  async #decodePaged(position: number, sampling: Sampling): Promise<number> {
    const { id, ahead } = this.#drawn?.position === position ? this.#drawn : { id: -1, ahead: [] };
    const chunk = { position, tokens: 1 };
    const seen = await this.#paged.run({
      start: (known) => this.#pager.startToken(id, ahead, known),
      ...{ program: this.#sampler.decode, chunk, stride: this.#routeStrides.decode, sampling },
      known: this.#knownOf(chunk),
      behind: (run) => run(this.#programs.next, chunk),
    });
    this.#pager.finished([id], seen.routes, [...ahead, ...seen.traced]);
    this.#drawn = { position: position + 1, id: seen.id, ahead: seen.ahead };
    return seen.id;
  }

  /** Of each site, the experts that the request alone decides. */
  #knownOf({ position, tokens }: Chunk): (SiteRoute | undefined)[] {
    if (!this.#route || !this.#state.request) return [];
    const known = knownRoutes(this.#plan, this.#route, position, tokens);
    return known.map((experts, site) => experts && this.#pager.paged(site, experts));
  }

  #submitForIds(at: number, count: number, encode: (run: Run) => void): Promise<number[]> {
    const staging = this.#ids.take();
    const end = 4 * (1 + count);
    this.#submit(encode, (encoder) => {
      encoder.copyBufferToBuffer(this.#state.fault, 0, staging, 0, 4);
      encoder.copyBufferToBuffer(this.#state.tokens, 4 * at, staging, 4, 4 * count);
      this.#sampler.copyRecord(encoder, staging, end);
    });
    return this.#ids.read(staging, end + this.#sampler.recordBytes).then((bytes) => {
      const words = new Uint32Array(bytes, 0, 1 + count);
      requireNoFault(words);
      this.#sampler.readRecord(words[count] as number, bytes, end);
      return [...words.subarray(1)];
    });
  }

  #submit(encode: (run: Run) => void, copy?: (encoder: GPUCommandEncoder) => void): void {
    this.#pager.stream.show();
    const encoder = this.#gpu.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    encode((steps, { position = 0, tokens = 1, row = 0 }, sampling = GREEDY) => {
      const values = { position, tokens, row, ...this.#sampler.params(sampling) };
      replay(this.#gpu, pass, steps, this.#params, this.#params.write(values), tokens);
    });
    pass.end();
    copy?.(encoder);
    this.#gpu.submit(encoder);
  }

  #resetFault(): void {
    this.#gpu.upload(this.#state.fault, 0, Uint32Array.of(ABSENT));
  }
}

function readbackSizes(plan: ModelPlan, state: State, sizes: StateSizes) {
  return {
    ids: Math.max(4 * (1 + BATCH_TOKENS), 4 * 2 + RECORD_BYTES),
    logits: 4 * (1 + plan.vocabulary),
    seen: seenBytes(plan, state, sizes),
  };
}

/** GPU bytes that a runner of this state takes, at most. */
export function runnerBytes(plan: ModelPlan, state: State, sizes: StateSizes): number {
  const { ids, logits, seen } = readbackSizes(plan, state, sizes);
  const ROUNDING_BYTES = 256;
  const readbacks = STAGING_BUFFERS * (ids + logits + seen + ROUNDING_BYTES);
  return readbacks + REPLAYS_IN_FLIGHT * PARAMS_STRIDE_BYTES + samplerBytes(plan);
}

/** Throws if the sampler found nothing to choose from. */
export function requireToken(id: number): number {
  if (id !== INVALID_TOKEN) return id;
  throw damaged("the model's logits are not numbers");
}

/** For replays in which every expert has a slot: a fault means that the page table and the pool disagree. */
function requireNoFault([fault]: Uint32Array): void {
  if (fault === DAMAGED) throw damagedRouter();
  if (fault !== ABSENT) throw new Error(`site ${fault} routed to an expert that has no slot`);
}
