import { test } from "vitest";
import { latent_kv } from "../../src/kernels/latent_kv.ts";
import { ropeTable } from "../../src/model/rope.ts";
import { columns, interleave, latentParts } from "../reference/latent.ts";
import {
  downloadWords,
  expectClose,
  expectPoison,
  onGpu,
  poisoned,
  runSteps,
  storage,
} from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";
import { WeightPage } from "../support/weight_page.ts";

/** As rope_kv. */
const TOLERANCE = 3e-7;

const EPSILON = 1e-3;
const CONTEXT = 24;
const PLAIN = 32;

interface Case {
  readonly heads: number;
  readonly rank: number;
  readonly rotary: number;
  readonly interleaved: boolean;
  readonly position: number;
  readonly tokens: number;
  /** Latents, and all heads of q, stand in one row rather than in buffers of their own. */
  readonly isOneRow: boolean;
}

const plain: Case = {
  heads: 3,
  rank: 64,
  rotary: 16,
  interleaved: true,
  position: 0,
  tokens: 1,
  isOneRow: false,
};

onGpu(
  "latent_kv",
  (gpu) => {
    async function stored(changed: Partial<Case>) {
      const shape = { ...plain, ...changed };
      const { heads, rank, rotary, interleaved, position, tokens, isOneRow } = shape;
      const random = seeded(heads + rank + position);
      const width = rank + rotary;
      const last = position + tokens;
      const q = normals(random, tokens * heads * (PLAIN + rotary));
      const kv = normals(random, last * width);
      const norm = normals(random, rank);
      const page = new WeightPage(random);
      const base = page.floats(norm);
      const frequencies = Array.from({ length: rotary / 2 }, (_, i) => 500 ** ((-2 * i) / rotary));
      const magnitude = 1.25;
      const own = kv.subarray(position * width);
      const qWidth = heads * (PLAIN + rotary);
      const together = storage(gpu(), "row", Float32Array.from(interleave(q, qWidth, own, width)));
      const row = isOneRow ? qWidth + width : undefined;
      const queries = poisoned(gpu(), "queries", tokens * heads * width);
      const cache = poisoned(gpu(), "cache", CONTEXT * width);
      const step = latent_kv(gpu(), {
        ...{ heads, rotary, interleaved, epsilon: EPSILON, queries, cache },
        norm: { buffer: storage(gpu(), "page", page.bytes()), base, length: rank },
        kv: row
          ? { buffer: together, row, first: qWidth }
          : { buffer: storage(gpu(), "kv", own.slice()), row: width },
        q: {
          buffer: row ? together : storage(gpu(), "q", q),
          ...{ row: row ?? qWidth, each: PLAIN + rotary, first: PLAIN },
        },
        table: storage(gpu(), "table", ropeTable(CONTEXT, { frequencies, magnitude })),
      });
      await runSteps(gpu(), [step], { position, tokens });

      const parts = latentParts({
        ...{ q, kv, norm, rotary, frequencies, magnitude, epsilon: EPSILON, scale: 1 },
        keyUp: { values: [], heads, rows: rank, cols: PLAIN },
        valueUp: { values: [], heads, rows: 0, cols: rank },
        variant: interleaved ? "normal" : "neox",
        positions: Array.from({ length: tokens }, (_, t) => position + t),
      });
      const rows = await written(cache, (i) => i >= position * width && i < last * width);
      const expected = interleave(parts.latents, rank, parts.keys, rotary).subarray(position * width);
      // Apart, for a large latent hides a small key.
      for (const [first, count] of [
        [0, rank],
        [rank, rotary],
      ] as const) {
        expectClose(columns(rows, width, first, count), columns(expected, width, first, count), TOLERANCE);
      }
      const isTurned = (i: number) => i < tokens * heads * width && i % width >= rank;
      expectClose(await written(queries, isTurned), parts.turned, TOLERANCE);
    }

    /** The words that must be written; all others must not. */
    async function written(buffer: GPUBuffer, isWritten: (i: number) => boolean): Promise<Float32Array> {
      const words = await downloadWords(gpu(), buffer);
      expectPoison(
        words.filter((_, i) => !isWritten(i)),
        `${buffer.label} elsewhere`,
      );
      return new Float32Array(words.filter((_, i) => isWritten(i)).buffer);
    }

    test("the first position", () => stored({}));
    test("several tokens from a later position", () => stored({ position: 7, tokens: 5 }));
    test("the last positions", () => stored({ position: CONTEXT - 3, tokens: 3 }));
    test("halves", () => stored({ interleaved: false, position: 5, tokens: 2 }));
    test("one head", () => stored({ heads: 1, position: 3, tokens: 2 }));
    test("16 heads, more pairs than a workgroup rotates", () =>
      stored({ heads: 16, rotary: 64, position: 2, tokens: 3 }));
    test("a rank of 512", () => stored({ rank: 512, rotary: 64, heads: 16, position: 4, tokens: 2 }));
    test("latent and queries in one row", () =>
      stored({ isOneRow: true, rotary: 64, heads: 9, position: 4, tokens: 3 }));
  },
  true,
);
