import { test } from "vitest";
import { ABSENT, ELSEWHERE } from "../../src/kernels/route.ts";
import { stick_breaking_attention } from "../../src/kernels/stick_breaking_attention.ts";
import { stickBreakingAttention } from "../reference/stick_breaking.ts";
import {
  downloadWords,
  expectClose,
  expectExact,
  onGpu,
  POISON,
  poisoned,
  runSteps,
  storage,
  TILE,
} from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";

/** Errors of a score, and of as many factors as there are positions. */
const TOLERANCE = 3e-6;
const CONTEXT = 640;

interface Case {
  readonly heads: number;
  readonly headSize: number;
  readonly topK: number;
  readonly tile: number;
  readonly position: number;
  readonly tokens: number;
  /** Of the queries: large ones take all of the stick, or nothing. */
  readonly sharpness: number;
  /** Added to scores: far below 0 sticks last long, far above they end at once. */
  readonly lean: number;
}

const small: Case = {
  heads: 2,
  headSize: 16,
  topK: 2,
  tile: 1,
  position: 0,
  tokens: 1,
  sharpness: 1,
  lean: 0,
};

onGpu(
  "stick_breaking_attention",
  (gpu) => {
    async function attended(options: Partial<Case>, slots = (pair: number) => pair % 3) {
      const shape = { ...small, ...options };
      const { heads, headSize, topK, tile, position, tokens, sharpness, lean } = shape;
      const random = seeded(position + 7 * tokens);
      const last = position + tokens;
      const q = normals(random, tokens * topK * heads * headSize, sharpness);
      const k = normals(random, last * heads * headSize);
      const v = normals(random, last * heads * headSize);
      const scale = Math.fround(1 / Math.sqrt(headSize));
      // One element of all queries and keys carries the lean.
      for (let i = 0; i < q.length; i += headSize) q[i] = 1;
      for (let i = 0; i < k.length; i += headSize) k[i] = lean / scale;
      // What lies past the last position, and past the last token of a tile, is NaN.
      const keys = new Float32Array(CONTEXT * heads * headSize).fill(Number.NaN);
      const values = keys.slice();
      for (let i = 0; i < k.length; i++) {
        const [p, h, d] = [Math.floor(i / headSize / heads), Math.floor(i / headSize) % heads, i % headSize];
        keys[((h * (headSize / 4) + (d >> 2)) * CONTEXT + p) * 4 + (d & 3)] = k[i] as number;
        values[(h * CONTEXT + p) * headSize + d] = v[i] as number;
      }
      const queries = new Float32Array(Math.ceil(tokens / tile) * tile * topK * heads * headSize);
      queries.fill(Number.NaN).set(q);
      const routes = new Uint32Array(
        Array.from({ length: tokens * topK }, (_, p) => [p, slots(p), 0]).flat(),
      );
      const out = poisoned(gpu(), "out", q.length);
      const step = stick_breaking_attention(gpu(), {
        ...{ heads, headSize, topK, tile, scale, out, context: CONTEXT },
        q: storage(gpu(), "q", queries),
        keys: storage(gpu(), "keys", keys),
        values: storage(gpu(), "values", values),
        routes: storage(gpu(), "routes", routes),
      });
      await runSteps(gpu(), [step], { position, tokens });
      const positions = Array.from({ length: tokens }, (_, t) => position + t);
      const expected = stickBreakingAttention(q, k, v, { choices: topK, heads, positions, scale });
      const words = await downloadWords(gpu(), out);
      return { found: new Float32Array(words.buffer, 0, q.length), words, expected };
    }
    async function agrees(options: Partial<Case>) {
      const { found, words, expected } = await attended(options);
      expectClose(found, expected, TOLERANCE);
      expectExact(
        words.subarray(expected.length),
        words.subarray(expected.length).map(() => POISON),
      );
    }

    test("the first position, of which a part of the stick is left over", () => agrees({}));
    test.each([1, 3, 4, 31, 32, 33])("position %d, about the lanes of a workgroup", (position) =>
      agrees({ position }),
    );
    test("the last of 513 positions", () => agrees({ position: 512, lean: -4 }));
    test("513 positions whose sticks hardly break", () => agrees({ position: 512, lean: -9 }));
    test("sticks that end at once", () => agrees({ position: 100, lean: 9 }));
    test("sharp scores, beyond what an exponential holds", () => agrees({ position: 90, sharpness: 150 }));
    test.each([4, 20, 64, 160])("heads of %d", (headSize) => agrees({ headSize, position: 37 }));
    test("one head, one choice", () => agrees({ heads: 1, topK: 1, position: 40 }));
    test.each([5, 70])("%d choices", (topK) => agrees({ topK, position: 40 }));
    test.each([1, TILE / 2])("a chunk from the start, tile %d", (tile) => agrees({ tile, tokens: 13 }));
    test("a chunk from a later position, across the lanes", () =>
      agrees({ tile: TILE / 2, tokens: 10, position: 60, lean: -2 }));
    test("a chunk of one token in a tile of several", () => agrees({ tile: TILE / 2, position: 5 }));

    test("a token has the same bits in a chunk and by itself", async () => {
      const options = { position: 200, lean: -3, sharpness: 3 };
      const chunk = await attended({ ...options, position: 197, tokens: 4, tile: TILE / 2 });
      // The same queries, keys and values, of which the chunk's last token is one.
      const { found } = chunk;
      const alone = await attended({ ...options, position: 197, tokens: 4, tile: 1 });
      expectExact(alone.found, found);
    });

    test("rows of choices that have no slot are left as they are", async () => {
      const marks = [3, ABSENT, ELSEWHERE, 0];
      const { words, found, expected } = await attended({ tokens: 4 }, (pair) => marks[pair % 4] as number);
      const row = small.heads * small.headSize;
      for (let pair = 0; pair < 8; pair++) {
        const [from, to] = [pair * row, (pair + 1) * row];
        if (pair % 4 === 0 || pair % 4 === 3) {
          expectClose(found.subarray(from, to), expected.subarray(from, to), TOLERANCE);
        } else expectExact(words.subarray(from, to), new Uint32Array(row).fill(POISON));
      }
    });
  },
  true,
);
