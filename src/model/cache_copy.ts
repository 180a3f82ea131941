import type { Gpu } from "../gpu/gpu.ts";
import { sha256 } from "../store/checksum.ts";
import { mixerOf } from "./blocks/mixer.ts";
import type { ModelPlan } from "./plan.ts";
import { mixerBlocks, type State } from "./state.ts";

/** Raise it when what is kept changes its meaning without changing its shape. */
const KEPT_VERSION = 2;
/** What of the cache is in host memory at a time, on its way to the store or back. */
const PIECE_BYTES = 2 ** 21;

/** Bytes that lie together. */
export interface Run<Buffer> {
  readonly buffer: Buffer;
  readonly offset: number;
  readonly bytes: number;
}

/** Brings what the blocks keep of a sequence out of the GPU and back, in pieces. */
export class CacheCopy {
  readonly #gpu: Gpu;
  readonly #plan: ModelPlan;
  readonly #state: State;
  readonly #context: number;

  constructor(gpu: Gpu, plan: ModelPlan, state: State, context: number) {
    this.#gpu = gpu;
    this.#plan = plan;
    this.#state = state;
    this.#context = context;
  }

  /** Names what is in the pieces of any sequence: equal names, equal meaning. */
  async layout(): Promise<string> {
    const kept = mixerBlocks(this.#plan).map((block) => [block.kind, mixerOf(block).kept(block)]);
    return sha256(new TextEncoder().encode(JSON.stringify([KEPT_VERSION, kept])));
  }

  /** What the first `tokens` positions left, and what is set aside: the same pieces for the same number. */
  pieces(tokens: number): Run<GPUBuffer>[][] {
    const runs = mixerBlocks(this.#plan).flatMap((block) =>
      Object.entries(mixerOf(block).kept(block)).flatMap(([name, { of, runs, floats }]) => {
        const buffer = this.#state.kept.get(block)?.[name] as GPUBuffer;
        const isEach = of === "each position";
        const stride = 4 * floats * (isEach ? this.#context : 1);
        const bytes = 4 * floats * (isEach ? tokens : 1);
        const aside = this.#state.aside.get(buffer);
        return [buffer, ...(aside ? [aside] : [])].flatMap((buffer) =>
          Array.from({ length: runs }, (_, i) => ({ buffer, offset: i * stride, bytes })),
        );
      }),
    );
    return cutPieces(runs, PIECE_BYTES);
  }

  /** Reads pieces, one at a time, until it is told to end. */
  reader(): { read(piece: readonly Run<GPUBuffer>[]): Promise<ArrayBuffer>; end(): void } {
    const gpu = this.#gpu;
    const staging = gpu.readback("cache", PIECE_BYTES);
    return {
      read: (piece) =>
        gpu.checked(() => {
          const buffer = staging.take();
          const encoder = gpu.device.createCommandEncoder();
          let at = 0;
          for (const run of piece) {
            encoder.copyBufferToBuffer(run.buffer, run.offset, buffer, at, run.bytes);
            at += run.bytes;
          }
          gpu.submit(encoder);
          return staging.read(buffer, at);
        }),
      end: () => staging.release(),
    };
  }

  /** Resolves when the GPU has it. */
  async write(piece: readonly Run<GPUBuffer>[], bytes: ArrayBuffer): Promise<void> {
    await this.#gpu.checked(() => {
      let at = 0;
      for (const run of piece) {
        this.#gpu.upload(run.buffer, run.offset, new Uint8Array(bytes, at, run.bytes));
        at += run.bytes;
      }
      return this.#gpu.done();
    });
  }
}

/** Cuts runs, one behind the other, into pieces of `pieceBytes`, a multiple of 4; the last one may be smaller. */
export function cutPieces<Buffer>(runs: readonly Run<Buffer>[], pieceBytes: number): Run<Buffer>[][] {
  const pieces: Run<Buffer>[][] = [];
  let room = 0;
  for (const { buffer, offset, bytes } of runs) {
    for (let done = 0; done < bytes; ) {
      if (room === 0) {
        pieces.push([]);
        room = pieceBytes;
      }
      const part = Math.min(room, bytes - done);
      pieces.at(-1)?.push({ buffer, offset: offset + done, bytes: part });
      done += part;
      room -= part;
    }
  }
  return pieces;
}
