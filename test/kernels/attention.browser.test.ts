import { test } from "vitest";
import { type AttentionWindow, attention } from "../../src/kernels/attention.ts";
import { attention as reference } from "../reference/index.ts";
import { expectClose, onGpu, outputFloats, poisoned, runSteps, storage, TILE } from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";
import { WeightPage } from "../support/weight_page.ts";

/** Errors of a score, amplified by exp to that of its size (scores stay below 100), and WGSL's own exp. */
const TOLERANCE = 2e-6;

/** The more so behind a hyperbolic tangent made of another exp and a quotient. */
const CAPPED_TOLERANCE = 4e-6;

const CONTEXT = 240;

/** No workgroup has more, so no walk over the cache begins earlier than that before what is seen. */
const MOST_LANES = 128;

interface Case {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headSize: number;
  readonly tile: number;
  readonly position: number;
  readonly tokens: number;
  /** Of the queries: large ones leave few weights that count. */
  readonly sharpness: number;
  /** Keys of later positions fit better and better, so that the running maximum moves at every step. */
  readonly isRising: boolean;
  /** As headSize if absent. */
  readonly valueSize?: number;
  readonly window?: AttentionWindow;
  readonly softcap?: number;
  /** Mean of the heads' sinks. */
  readonly sinks?: number;
  /** Positions before this one are NaN in the cache. */
  readonly forgotten?: number;
}

const plain: Case = {
  heads: 4,
  kvHeads: 2,
  headSize: 32,
  tile: 1,
  position: 0,
  tokens: 1,
  sharpness: 1,
  isRising: false,
};

onGpu(
  "attention",
  (gpu) => {
    async function attended(changed: Partial<Case>) {
      const shape = { ...plain, ...changed };
      const { heads, kvHeads, headSize, valueSize = headSize, tile, position, tokens } = shape;
      const { window, softcap, forgotten = 0 } = shape;
      const last = position + tokens;
      const random = seeded(headSize + last);
      const q = normals(random, tokens * heads * headSize, shape.sharpness);
      const k = normals(random, last * kvHeads * headSize);
      const v = normals(random, last * kvHeads * valueSize);
      if (shape.isRising) alignKeys(k, q, shape);
      const scale = Math.fround(1 / Math.sqrt(headSize));
      // What lies past the last position, and past the last token of a tile, is NaN.
      const keys = cached(k, shape, headSize, keyAt);
      const values = cached(v, shape, valueSize, valueAt);
      const padded = Math.ceil(tokens / tile) * tile * heads * headSize;
      const queries = new Float32Array(padded).fill(Number.NaN);
      queries.set(q);
      const sinks = normals(random, heads, 2).map((value) => value + (shape.sinks ?? 0));
      const page = new WeightPage(random);
      const base = page.floats(sinks);
      const out = poisoned(gpu(), "out", tokens * heads * valueSize);
      const step = attention(gpu(), {
        ...{ heads, kvHeads, headSize, scale, window, softcap, tile, out, context: CONTEXT },
        ...(shape.valueSize !== undefined && { valueSize }),
        ...(shape.sinks !== undefined && {
          sinks: { buffer: storage(gpu(), "page", page.bytes()), base, length: heads },
        }),
        q: storage(gpu(), "q", queries),
        keys: storage(gpu(), "keys", keys),
        values: storage(gpu(), "values", values),
      });
      await runSteps(gpu(), [step], { position, tokens });
      k.fill(0, 0, forgotten * kvHeads * headSize);
      v.fill(0, 0, forgotten * kvHeads * valueSize);
      const expected = reference(q, k, v, {
        ...{ heads, kvHeads, scale, window, softcap },
        ...(shape.sinks !== undefined && { sinks }),
        positions: Array.from({ length: tokens }, (_, t) => position + t),
      });
      const tolerance = softcap === undefined ? TOLERANCE : CAPPED_TOLERANCE;
      expectClose(await outputFloats(gpu(), out, expected.length), expected, tolerance);
    }

    test("the first position", () => attended({}));
    test("the second position", () => attended({ position: 1 }));
    test.each([30, 31, 32, 33])("position %d, about the lanes of a workgroup", (position) =>
      attended({ position }),
    );
    test("many positions", () => attended({ position: 200 }));
    test("a query head for each kv head", () => attended({ kvHeads: 4, position: 40 }));
    test("four query heads for each kv head", () => attended({ heads: 8, position: 40 }));
    test.each([64, 128])("heads of %d", (headSize) => attended({ headSize, position: 50 }));
    test("sharp weights", () => attended({ position: 90, sharpness: 12 }));
    test("a maximum that keeps rising", () => attended({ position: 90, isRising: true }));

    test.each([1, TILE])("a chunk from the start, tile %d", (tile) => attended({ tile, tokens: 13 }));
    test("a chunk of one token in a tile of several", () => attended({ tile: TILE, position: 5 }));
    test("a chunk of whole tiles", () => attended({ tile: TILE / 2, tokens: 8, position: 3 }));
    test("a chunk from a later position, across the lanes", () =>
      attended({ tile: TILE / 2, tokens: 10, position: 60, heads: 2, kvHeads: 2, headSize: 64 }));
    test("a chunk of grouped heads of 128", () =>
      attended({ tile: TILE / 2, tokens: 5, position: 30, heads: 8, headSize: 128 }));
    test("a chunk with a rising maximum", () => attended({ tile: TILE, tokens: 40, isRising: true }));

    test.each([4, 20, 48, 160])("values of %d", (valueSize) => attended({ valueSize, position: 37 }));
    test("a chunk with values narrower than keys", () =>
      attended({ headSize: 96, valueSize: 64, tile: TILE / 2, tokens: 7, position: 30 }));

    const sliding = (tokens: number) => ({ window: { tokens, kind: "sliding" as const } });
    const chunked = (tokens: number) => ({ window: { tokens, kind: "chunk" as const } });
    test.each([6, 7, 8, 9, 40])("a window of 8 at position %d", (position) =>
      attended({ ...sliding(8), position }),
    );
    test("a window of one", () => attended({ ...sliding(1), position: 40, tile: TILE, tokens: 11 }));
    test("a window as long as the context", () => attended({ ...sliding(CONTEXT), position: 100 }));
    test.each([0, 61])("a window smaller than the chunk, from %d", (position) =>
      attended({ ...sliding(5), position, tile: TILE, tokens: 43, heads: 6 }),
    );
    test("a window larger than the chunk", () =>
      attended({ ...sliding(50), position: 60, tile: TILE / 2, tokens: 13 }));
    test("a window that leaves whole steps of the walk to later queries of the tile", () =>
      attended({ ...sliding(2), position: 30, tile: TILE, tokens: 2 * TILE, sharpness: 9 }));
    test.each([6, 7, 8, 14, 40])("stretches of 7 at position %d", (position) =>
      attended({ ...chunked(7), position }),
    );
    test.each([0, 61])("stretches smaller than the chunk, from %d", (position) =>
      attended({ ...chunked(5), position, tile: TILE, tokens: 43, heads: 6 }),
    );
    test("a stretch that begins inside the chunk", () =>
      attended({ ...chunked(64), position: 60, tile: TILE / 2, tokens: 13 }));
    test("stretches longer than all there is", () => attended({ ...chunked(1000), position: 60, tokens: 3 }));
    const late = { position: 2 * MOST_LANES - 40, tokens: 3, tile: TILE / 2, forgotten: MOST_LANES };
    test("what lies before a window is not read", () => attended({ ...late, ...sliding(20) }));
    test("what lies before a stretch is not read", () => attended({ ...late, ...chunked(100) }));

    test.each([-30, 0, 6, 20])("sinks about %d", (sinks) => attended({ sinks, position: 40 }));
    test("sinks at the first position", () => attended({ sinks: 1 }));
    test("sinks of a chunk of grouped heads", () =>
      attended({ sinks: 2, heads: 6, kvHeads: 2, tile: TILE / 2, tokens: 9, position: 30 }));
    test("sinks under a maximum that keeps rising", () =>
      attended({ sinks: 3, position: 90, isRising: true }));

    test.each([0.05, 1, 12, 1e5])("capped scores of %d", (sharpness) =>
      attended({ softcap: 3, position: 90, sharpness }),
    );
    test("a high cap", () => attended({ softcap: 50, position: 60, tile: TILE, tokens: 9, sharpness: 4 }));

    const all = { heads: 8, kvHeads: 2, headSize: 64, valueSize: 32, sinks: 1, softcap: 30 };
    test("all of it at once", () => attended({ ...all, ...sliding(33), position: 90 }));
    test("all of it at once, a chunk", () =>
      attended({ ...all, ...chunked(33), position: 90, tile: TILE / 2, tokens: 21 }));
  },
  true,
);

/** The cache that holds x [positions, kvHeads, size], NaN where it holds nothing. */
function cached(x: Float32Array, { kvHeads, forgotten = 0 }: Case, size: number, indexOf: typeof keyAt) {
  const cache = new Float32Array(kvHeads * CONTEXT * size).fill(Number.NaN);
  for (let i = forgotten * kvHeads * size; i < x.length; i++) {
    const [position, head] = [Math.floor(i / size / kvHeads), Math.floor(i / size) % kvHeads];
    cache[indexOf(head, position, i % size, size)] = x[i] as number;
  }
  return cache;
}

/** [kvHeads, size / 4, context, 4] */
function keyAt(head: number, position: number, i: number, size: number): number {
  return (((head * size) / 4 + Math.floor(i / 4)) * CONTEXT + position) * 4 + (i % 4);
}

/** [kvHeads, context, size] */
function valueAt(head: number, position: number, i: number, size: number): number {
  return (head * CONTEXT + position) * size + i;
}

/** Makes key p a multiple of one query that grows with p. */
function alignKeys(k: Float32Array, q: Float32Array, { kvHeads, headSize, position, tokens }: Case): void {
  const norm = Math.hypot(...q.subarray(0, headSize));
  for (let i = 0; i < k.length; i++) {
    const p = Math.floor(i / headSize / kvHeads);
    k[i] = ((20 * p) / (position + tokens)) * ((q[i % headSize] as number) / norm) + 0.1 * (k[i] as number);
  }
}
