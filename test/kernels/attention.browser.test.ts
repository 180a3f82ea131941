import { test } from "vitest";
import { attention } from "../../src/kernels/attention.ts";
import { attention as reference } from "../reference/index.ts";
import { expectClose, onGpu, outputFloats, poisoned, runSteps, storage, TILE } from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";

/** Errors of a score, amplified by exp to that of its size (scores stay below 100), and WGSL's own exp. */
const TOLERANCE = 2e-6;

const CONTEXT = 240;

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
      const { heads, kvHeads, headSize, tile, position, tokens } = shape;
      const last = position + tokens;
      const random = seeded(headSize + last);
      const q = normals(random, tokens * heads * headSize, shape.sharpness);
      const k = normals(random, last * kvHeads * headSize);
      const v = normals(random, last * kvHeads * headSize);
      if (shape.isRising) alignKeys(k, q, shape);
      const scale = Math.fround(1 / Math.sqrt(headSize));
      // What lies past the last position, and past the last token of a tile, is NaN.
      const cache = () => new Float32Array(kvHeads * CONTEXT * headSize).fill(Number.NaN);
      const keys = cache();
      const values = cache();
      for (let i = 0; i < k.length; i++) {
        const [p, head, d] = [
          Math.floor(i / headSize / kvHeads),
          Math.floor(i / headSize) % kvHeads,
          i % headSize,
        ];
        keys[(((head * headSize) / 4 + Math.floor(d / 4)) * CONTEXT + p) * 4 + (d % 4)] = k[i] as number;
        values[(head * CONTEXT + p) * headSize + d] = v[i] as number;
      }
      const padded = Math.ceil(tokens / tile) * tile * heads * headSize;
      const queries = new Float32Array(padded).fill(Number.NaN);
      queries.set(q);
      const out = poisoned(gpu(), "out", q.length);
      const step = attention(gpu(), {
        ...{ heads, kvHeads, headSize, scale, tile, out, context: CONTEXT },
        q: storage(gpu(), "q", queries),
        keys: storage(gpu(), "keys", keys),
        values: storage(gpu(), "values", values),
      });
      await runSteps(gpu(), [step], { position, tokens });
      const positions = Array.from({ length: tokens }, (_, t) => position + t);
      const expected = reference(q, k, v, { heads, kvHeads, positions, scale });
      expectClose(await outputFloats(gpu(), out, q.length), expected, TOLERANCE);
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
  },
  true,
);

/** Makes key p a multiple of one query that grows with p. */
function alignKeys(k: Float32Array, q: Float32Array, { kvHeads, headSize, position, tokens }: Case): void {
  const norm = Math.hypot(...q.subarray(0, headSize));
  for (let i = 0; i < k.length; i++) {
    const p = Math.floor(i / headSize / kvHeads);
    k[i] = ((20 * p) / (position + tokens)) * ((q[i % headSize] as number) / norm) + 0.1 * (k[i] as number);
  }
}
