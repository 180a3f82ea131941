import { test } from "vitest";
import { rope_kv } from "../../src/kernels/rope_kv.ts";
import { rmsnorm, rope } from "../reference/index.ts";
import {
  downloadWords,
  expectClose,
  expectExact,
  expectPoison,
  onGpu,
  outputFloats,
  poisoned,
  runSteps,
  storage,
} from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";
import { WeightPage } from "../support/weight_page.ts";

/** A norm (two roundings and a root), a table rounded to f32, two products and a sum. */
const TOLERANCE = 3e-7;

const EPSILON = 1e-3;
const CONTEXT = 24;

interface Case {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headSize: number;
  readonly rotary: number;
  readonly interleaved: boolean;
  readonly norms: "none" | "q" | "k" | "both";
  /** The norms are over all heads as one. */
  readonly isWhole: boolean;
  readonly position: number;
  readonly tokens: number;
}

const plain: Case = {
  heads: 4,
  kvHeads: 2,
  headSize: 64,
  rotary: 64,
  interleaved: false,
  norms: "both",
  isWhole: false,
  position: 0,
  tokens: 1,
};

onGpu(
  "rope_kv",
  (gpu) => {
    async function rotated(changed: Partial<Case>) {
      const shape = { ...plain, ...changed };
      const { heads, kvHeads, headSize, rotary, interleaved, norms, isWhole, position, tokens } = shape;
      const random = seeded(headSize + position);
      const width = (heads + 2 * kvHeads) * headSize;
      const qkv = normals(random, tokens * width);
      const page = new WeightPage(random);
      const weights = (count: number) => normals(random, isWhole ? count * headSize : headSize);
      const q = { weight: weights(heads), isNormed: norms === "q" || norms === "both" };
      const k = { weight: weights(kvHeads), isNormed: norms === "k" || norms === "both" };
      const bases = [page.floats(q.weight), page.floats(k.weight)] as const;
      const buffer = storage(gpu(), "page", page.bytes());
      const norm = (base: number, { length }: Float32Array) => ({ buffer, base, length });
      const frequencies = Float64Array.from({ length: rotary / 2 }, (_, i) => 500 ** ((-2 * i) / rotary));
      const turns = { frequencies, magnitude: 1.25 };
      const outputs = {
        q: poisoned(gpu(), "q", tokens * heads * headSize),
        keys: poisoned(gpu(), "keys", kvHeads * CONTEXT * headSize),
        values: poisoned(gpu(), "values", kvHeads * CONTEXT * headSize),
      };
      const step = rope_kv(gpu(), {
        ...{ heads, kvHeads, headSize, rotary, interleaved, context: CONTEXT, epsilon: EPSILON },
        ...(q.isNormed && { normQ: norm(bases[0], q.weight) }),
        ...(k.isNormed && { normK: norm(bases[1], k.weight) }),
        qkv: storage(gpu(), "qkv", qkv),
        ...(rotary > 0 && { table: storage(gpu(), "table", table(turns)) }),
        ...outputs,
      });
      await runSteps(gpu(), [step], { position, tokens });

      const part = (first: number, count: number) => slice(qkv, width, first * headSize, count * headSize);
      const positions = Array.from({ length: tokens }, (_, t) => position + t);
      const variant = interleaved ? ("normal" as const) : ("neox" as const);
      const turned = (x: Float32Array, of: typeof q, count: number) => {
        const normed = of.isNormed ? rmsnorm(x, of.weight, EPSILON) : x;
        return rope(normed, { ...turns, heads: count, positions, variant });
      };
      const count = tokens * heads * headSize;
      expectClose(await outputFloats(gpu(), outputs.q, count), turned(part(0, heads), q, heads), TOLERANCE);
      const keys = await cached(outputs.keys, shape, keyAt);
      expectClose(keys, turned(part(heads, kvHeads), k, kvHeads), TOLERANCE);
      expectExact(await cached(outputs.values, shape, valueAt), part(heads + kvHeads, kvHeads));
    }

    /** The cache at the replay's positions, [tokens, kvHeads, headSize]; the rest must be untouched. */
    async function cached(buffer: GPUBuffer, shape: Case, indexOf: typeof keyAt): Promise<Float32Array> {
      const words = await downloadWords(gpu(), buffer);
      const { kvHeads, headSize, position, tokens } = shape;
      const at = Array.from({ length: tokens * kvHeads * headSize }, (_, i) => {
        const head = Math.floor(i / headSize) % kvHeads;
        return indexOf(head, position + Math.floor(i / headSize / kvHeads), i % headSize, headSize);
      });
      const found = Uint32Array.from(at, (i) => words[i] as number);
      const written = new Set(at);
      expectPoison(
        words.filter((_, i) => !written.has(i)),
        `${buffer.label} at other positions`,
      );
      return new Float32Array(found.buffer);
    }

    test("halves", () => rotated({}));
    test("neighbours", () => rotated({ interleaved: true, position: 3, tokens: 2 }));
    test("several tokens from a later position", () => rotated({ position: 7, tokens: 5 }));
    test("the last positions", () => rotated({ position: CONTEXT - 3, tokens: 3 }));
    test("heads of 32, one kv head each", () =>
      rotated({ headSize: 32, rotary: 32, kvHeads: 4, position: 2 }));
    test("heads of 128", () => rotated({ headSize: 128, rotary: 128, position: 1, tokens: 3 }));
    test("partial halves", () => rotated({ rotary: 16, position: 5, tokens: 2 }));
    test("partial neighbours", () => rotated({ rotary: 24, interleaved: true, position: 5, tokens: 2 }));
    test("nothing rotated", () => rotated({ rotary: 0, position: 5, tokens: 2 }));
    test("nothing rotated or normed", () => rotated({ rotary: 0, norms: "none", tokens: 2 }));
    test("norms over all heads", () => rotated({ isWhole: true, position: 2, tokens: 3 }));
    test("a norm over all k heads, of which there is one", () =>
      rotated({ isWhole: true, norms: "k", kvHeads: 1, tokens: 2 }));
    test("no norms", () => rotated({ norms: "none", position: 4, tokens: 2 }));
    test("a norm on q only", () => rotated({ norms: "q", position: 4, tokens: 2 }));
    test("a norm on k only", () => rotated({ norms: "k", position: 4, tokens: 2 }));
  },
  true,
);

function table({ frequencies, magnitude }: { frequencies: Float64Array; magnitude: number }) {
  const pairs = Array.from({ length: CONTEXT }, (_, position) =>
    Array.from(frequencies, (f) => [Math.cos(position * f) * magnitude, Math.sin(position * f) * magnitude]),
  );
  return Float32Array.from(pairs.flat(2));
}

/** Columns `first` to `first + count − 1` of rows of `width`. */
function slice(x: Float32Array, width: number, first: number, count: number): Float32Array {
  return x.filter((_, i) => i % width >= first && i % width < first + count);
}

/** [kvHeads, headSize / 4, context, 4] */
function keyAt(head: number, position: number, i: number, headSize: number): number {
  return (((head * headSize) / 4 + Math.floor(i / 4)) * CONTEXT + position) * 4 + (i % 4);
}

/** [kvHeads, context, headSize] */
function valueAt(head: number, position: number, i: number, headSize: number): number {
  return (head * CONTEXT + position) * headSize + i;
}
