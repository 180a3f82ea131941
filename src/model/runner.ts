import type { EngineGenerateOptions } from "../api.ts";
import { SluiceError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { ParamArena, type ParamValues } from "../gpu/params.ts";
import { replay, type Step } from "../gpu/program.ts";
import type { Readback } from "../gpu/readback.ts";
import { ABSENT, DAMAGED } from "../kernels/route.ts";
import { INVALID_TOKEN } from "../kernels/sample.ts";
import { buildPrograms, type Programs } from "./forward.ts";
import type { ModelPlan } from "./plan.ts";
import type { State, StateSizes } from "./state.ts";
import type { Weights } from "./weights.ts";

/** Tokens decoded for each readback. */
export const BATCH_TOKENS = 8;

/** How the sampler draws. */
export type Sampling = Pick<EngineGenerateOptions, "temperature" | "topK" | "topP" | "seed">;

const GREEDY: Sampling = { temperature: 0, topK: 0, topP: 1, seed: 0 };

/** Encodes replays of a program into one submit. */
type Run = (steps: readonly Step[], params: Partial<ParamValues>, sampling?: Sampling) => void;

/** Replays a model's programs: prompts in, ids or logits out. Creates no GPU object after construction. */
export class Runner {
  readonly #gpu: Gpu;
  readonly #plan: ModelPlan;
  readonly #state: State;
  readonly #chunk: number;
  readonly #programs: Programs;
  readonly #params: ParamArena;
  /** Fault word, then ids. */
  readonly #ids: Readback;
  readonly #logits: Readback;

  constructor(gpu: Gpu, plan: ModelPlan, weights: Weights, state: State, sizes: StateSizes) {
    this.#gpu = gpu;
    this.#plan = plan;
    this.#state = state;
    this.#chunk = sizes.chunk;
    this.#programs = buildPrograms(gpu, plan, weights, state, sizes);
    this.#params = new ParamArena(gpu, 2 * BATCH_TOKENS);
    this.#ids = gpu.readback("ids", 4 * (1 + BATCH_TOKENS));
    this.#logits = gpu.readback("logits", 4 * (1 + plan.vocabulary));
  }

  /** Puts `prompt` through the model from position 0 and draws the token that follows it. */
  async prefill(prompt: readonly number[], sampling: Sampling, signal: AbortSignal): Promise<number> {
    const last = await this.#feed(prompt, signal);
    const [id] = await this.#gpu.checked(() => {
      const end = last.position + last.tokens;
      return this.#submitForIds(end, 1, (run) => {
        run(this.#programs.head, { ...last, tokens: 1, row: last.tokens - 1 }, sampling);
      });
    });
    return id as number;
  }

  /**
   * Decodes `count` ≤ BATCH_TOKENS tokens, feeding the one at `position` first. The work is submitted before
   * this returns; the ids come when it is done.
   */
  decode(position: number, count: number, sampling: Sampling): Promise<number[]> {
    return this.#gpu.checked(() =>
      this.#submitForIds(position + 1, count, (run) => {
        for (let i = 0; i < count; i++) {
          run(this.#programs.decode, { position: position + i, tokens: 1 }, sampling);
        }
      }),
    );
  }

  /** Logits of every position of `prompt`, row by row: [prompt.length, vocabulary]. */
  async logits(prompt: readonly number[], signal: AbortSignal): Promise<Float32Array<ArrayBuffer>> {
    const { vocabulary } = this.#plan;
    const all = new Float32Array(prompt.length * vocabulary);
    await this.#feed(prompt, signal, async ({ position, tokens }) => {
      for (let row = 0; row < tokens; row++) {
        signal.throwIfAborted();
        const bytes = await this.#gpu.checked(() => {
          const staging = this.#logits.take();
          this.#submit(
            (run) => run(this.#programs.logits, { position, tokens: 1, row }),
            (encoder) => {
              encoder.copyBufferToBuffer(this.#state.fault, 0, staging, 0, 4);
              encoder.copyBufferToBuffer(this.#state.logits, 0, staging, 4, 4 * vocabulary);
            },
          );
          return this.#logits.read(staging, 4 * (1 + vocabulary));
        });
        this.#requireNoFault(new Uint32Array(bytes, 0, 1));
        all.set(new Float32Array(bytes, 4), (position + row) * vocabulary);
      }
    });
    return all;
  }

  /** Runs the prompt in chunks; `after` sees each chunk while its activations are there. Gives the last. */
  async #feed(
    prompt: readonly number[],
    signal: AbortSignal,
    after?: (chunk: Chunk) => Promise<void>,
  ): Promise<Chunk> {
    this.#gpu.upload(this.#state.tokens, 0, Uint32Array.from(prompt));
    this.#gpu.upload(this.#state.fault, 0, Uint32Array.of(ABSENT));
    let chunk: Chunk = { position: 0, tokens: 0 };
    for (let position = 0; position < prompt.length; position += this.#chunk) {
      signal.throwIfAborted();
      chunk = { position, tokens: Math.min(this.#chunk, prompt.length - position) };
      const isLast = position + chunk.tokens === prompt.length;
      await this.#gpu.checked(() => {
        this.#submit((run) => run(this.#programs.prefill, chunk));
        // The queue may not grow with the prompt; the last chunk is waited for with what follows it.
        return isLast ? undefined : this.#gpu.done();
      });
      await after?.(chunk);
    }
    return chunk;
  }

  #submitForIds(at: number, count: number, encode: (run: Run) => void): Promise<number[]> {
    const staging = this.#ids.take();
    this.#submit(encode, (encoder) => {
      encoder.copyBufferToBuffer(this.#state.fault, 0, staging, 0, 4);
      encoder.copyBufferToBuffer(this.#state.tokens, 4 * at, staging, 4, 4 * count);
    });
    return this.#ids.read(staging, 4 * (1 + count)).then((bytes) => {
      const words = new Uint32Array(bytes);
      this.#requireNoFault(words);
      return [...words.subarray(1)];
    });
  }

  #submit(encode: (run: Run) => void, copy?: (encoder: GPUCommandEncoder) => void): void {
    const encoder = this.#gpu.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    encode((steps, { position = 0, tokens = 1, row = 0 }, { temperature, topK, topP, seed } = GREEDY) => {
      const values = { position, tokens, row, seed, temperature, top_k: topK, top_p: topP };
      replay(this.#gpu, pass, steps, this.#params, this.#params.write(values), tokens);
    });
    pass.end();
    copy?.(encoder);
    this.#gpu.submit(encoder);
  }

  /** Every expert has a slot, so a fault here means that the page table and the pool disagree. */
  #requireNoFault([fault]: Uint32Array): void {
    if (fault === DAMAGED) throw damaged("a router's logits are not numbers");
    if (fault !== ABSENT) throw new Error(`layer ${fault} routed to an expert that has no slot`);
  }
}

interface Chunk {
  readonly position: number;
  readonly tokens: number;
}

/** Throws if the sampler found nothing to choose from. */
export function requireToken(id: number): number {
  if (id !== INVALID_TOKEN) return id;
  throw damaged("the model's logits are not numbers");
}

function damaged(what: string): SluiceError {
  return new SluiceError("bad-model-file", what, {
    remedy: "The weights are damaged or their type is misread: download the file again.",
  });
}
