import { test } from "vitest";
import { rope_kv } from "../../src/kernels/rope_kv.ts";
import { attentionTemperature, rmsnorm, rope, type TemperatureOptions } from "../reference/index.ts";
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

/** A norm (two roundings and a root), a table rounded to f32, two products and a sum; a logarithm. */
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
  /** The norms are over all heads as one, or without weights. */
  readonly normKind: "head" | "whole" | "plain";
  readonly normsAfterRope?: boolean;
  readonly position: number;
  readonly tokens: number;
  /** As headSize if absent. */
  readonly valueSize?: number;
  /** Where q, k and v are in a row of qkv; one behind the other if absent. */
  readonly layout?: Layout;
  readonly clamp?: number;
  readonly temperature?: TemperatureOptions;
}

interface Layout {
  readonly qStep?: number;
  readonly kAt?: number;
  readonly vAt?: number;
  readonly columns?: number;
}

const plain: Case = {
  heads: 4,
  kvHeads: 2,
  headSize: 64,
  rotary: 64,
  interleaved: false,
  norms: "both",
  normKind: "head",
  position: 0,
  tokens: 1,
};

/** What a row holds of q, k or v, and where. */
interface Part {
  readonly heads: number;
  readonly size: number;
  readonly at: number;
  readonly step: number;
}

onGpu(
  "rope_kv",
  (gpu) => {
    async function rotated(changed: Partial<Case>) {
      const shape = { ...plain, ...changed };
      const { heads, kvHeads, headSize, valueSize = headSize, rotary, interleaved, position, tokens } = shape;
      const { norms, normKind, normsAfterRope, layout = {}, clamp, temperature } = shape;
      const { qStep = headSize, kAt = heads * qStep, vAt = kAt + kvHeads * headSize } = layout;
      const { columns = vAt + kvHeads * valueSize } = layout;
      const random = seeded(headSize + position);
      // Between and behind the parts it is NaN.
      const qkv = new Float32Array(tokens * columns).fill(Number.NaN);
      const place = (part: Part) => {
        const values = normals(random, tokens * part.heads * part.size);
        for (let i = 0; i < values.length; i++) qkv[placeOf(part, i, columns)] = values[i] as number;
        const limit = (value: number) => Math.min(Math.max(value, -(clamp ?? Infinity)), clamp ?? Infinity);
        return values.map(limit);
      };
      const q = place({ heads, size: headSize, at: 0, step: qStep });
      const k = place({ heads: kvHeads, size: headSize, at: kAt, step: headSize });
      const v = place({ heads: kvHeads, size: valueSize, at: vAt, step: valueSize });

      const page = new WeightPage(random);
      const weights = (count: number) => normals(random, (normKind === "whole" ? count : 1) * headSize);
      const [weightQ, weightK] = [weights(heads), weights(kvHeads)];
      const bases = [page.floats(weightQ), page.floats(weightK)] as const;
      const buffer = storage(gpu(), "page", page.bytes());
      const norm = (base: number, { length }: Float32Array) =>
        normKind === "plain" ? normKind : { buffer, base, length };
      const frequencies = Float64Array.from({ length: rotary / 2 }, (_, i) => 500 ** ((-2 * i) / rotary));
      const turns = { frequencies, magnitude: 1.25 };
      const outputs = {
        q: poisoned(gpu(), "q", tokens * heads * headSize),
        keys: poisoned(gpu(), "keys", kvHeads * CONTEXT * headSize),
        values: poisoned(gpu(), "values", kvHeads * CONTEXT * valueSize),
      };
      const isNormed = { q: norms === "q" || norms === "both", k: norms === "k" || norms === "both" };
      const step = rope_kv(gpu(), {
        ...{ heads, kvHeads, headSize, rotary, interleaved, context: CONTEXT, epsilon: EPSILON },
        ...{ ...layout, valueSize: shape.valueSize, normsAfterRope, clamp, temperature },
        ...(isNormed.q && { normQ: norm(bases[0], weightQ) }),
        ...(isNormed.k && { normK: norm(bases[1], weightK) }),
        qkv: storage(gpu(), "qkv", qkv),
        ...(rotary > 0 && { table: storage(gpu(), "table", table(turns)) }),
        ...outputs,
      });
      await runSteps(gpu(), [step], { position, tokens });

      const positions = Array.from({ length: tokens }, (_, t) => position + t);
      const variant = interleaved ? ("normal" as const) : ("neox" as const);
      const normed = (x: ArrayLike<number>, weight: Float32Array) =>
        rmsnorm(x, normKind === "plain" ? weight.map(() => 1) : weight, EPSILON);
      const turned = (x: Float32Array, weight: Float32Array, count: number, hasNorm: boolean) => {
        const before = hasNorm && !normsAfterRope ? normed(x, weight) : x;
        const turned = rope(before, { ...turns, heads: count, positions, variant });
        return hasNorm && normsAfterRope ? normed(turned, weight) : turned;
      };
      const tempered = turned(q, weightQ, heads, isNormed.q).map((value, i) => {
        const at = position + Math.floor(i / heads / headSize);
        return value * (temperature ? attentionTemperature(at, temperature) : 1);
      });
      expectClose(await outputFloats(gpu(), outputs.q, q.length), tempered, TOLERANCE);
      const keys = await cached(outputs.keys, shape, headSize, keyAt);
      expectClose(keys, turned(k, weightK, kvHeads, isNormed.k), TOLERANCE);
      expectExact(await cached(outputs.values, shape, valueSize, valueAt), v);
    }

    /** The cache at the replay's positions, [tokens, kvHeads, size]; the rest must be untouched. */
    async function cached(buffer: GPUBuffer, shape: Case, size: number, indexOf: typeof keyAt) {
      const words = await downloadWords(gpu(), buffer);
      const { kvHeads, position, tokens } = shape;
      const at = Array.from({ length: tokens * kvHeads * size }, (_, i) => {
        const head = Math.floor(i / size) % kvHeads;
        return indexOf(head, position + Math.floor(i / size / kvHeads), i % size, size);
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
    test("norms over all heads", () => rotated({ normKind: "whole", position: 2, tokens: 3 }));
    test("a norm over all k heads, of which there is one", () =>
      rotated({ normKind: "whole", norms: "k", kvHeads: 1, tokens: 2 }));
    test("no norms", () => rotated({ norms: "none", position: 4, tokens: 2 }));
    test("a norm on q only", () => rotated({ norms: "q", position: 4, tokens: 2 }));
    test("a norm on k only", () => rotated({ norms: "k", position: 4, tokens: 2 }));

    test.each(["q", "k", "both"] as const)("norms without weights on %s", (norms) =>
      rotated({ norms, normKind: "plain", position: 4, tokens: 2 }),
    );
    const after = { normsAfterRope: true, position: 3, tokens: 3 };
    test("norms behind the rotation", () => rotated(after));
    test("norms behind a rotation of neighbours", () => rotated({ ...after, interleaved: true }));
    test("norms behind a partial rotation", () => rotated({ ...after, rotary: 24 }));
    test("a norm behind the rotation on k only", () => rotated({ ...after, norms: "k" }));
    test("norms without weights behind the rotation, at the first position", () =>
      rotated({ normsAfterRope: true, normKind: "plain" }));
    test("norms over all heads behind the rotation", () =>
      rotated({ ...after, normKind: "whole", rotary: 32, interleaved: true }));
    test("norms behind no rotation", () => rotated({ ...after, rotary: 0 }));

    test("values wider than keys", () => rotated({ valueSize: 96, position: 4, tokens: 3 }));
    test("values narrower than keys", () => rotated({ headSize: 96, valueSize: 64, position: 4, tokens: 3 }));
    const gated = { layout: { qStep: 128 }, position: 2, tokens: 3 };
    test("a gap behind each q head", () => rotated(gated));
    test("a gap behind each q head, norms over all heads", () => rotated({ ...gated, normKind: "whole" }));
    test("a gap behind each q head, norms over all heads behind the rotation", () =>
      rotated({ ...gated, normKind: "whole", normsAfterRope: true }));
    test("more columns behind v", () => rotated({ layout: { columns: 600 }, tokens: 3 }));
    test("v before k, and gaps", () =>
      rotated({
        layout: { kAt: 500, vAt: 300, columns: 700 },
        ...{ valueSize: 96, norms: "none", position: 9, tokens: 4 },
      }));

    test("clamped", () => rotated({ clamp: 0.5, norms: "none", position: 3, tokens: 3 }));
    test("clamped, then normed", () => rotated({ clamp: 0.5, tokens: 2 }));
    test("clamped, then rotated and normed", () => rotated({ ...after, clamp: 0.5 }));
    test("limits beyond all values", () => rotated({ clamp: 100, tokens: 2 }));

    const temperature = { scale: 0.4, length: 3, offset: 1 };
    test.each([0, 1, 2, 5, 12])("a temperature from position %d", (position) =>
      rotated({ temperature, position, tokens: 4 }),
    );
    test("a temperature without rotation", () =>
      rotated({
        temperature: { ...temperature, offset: 0 },
        rotary: 0,
        norms: "none",
        position: 4,
        tokens: 6,
      }));
    test("all of it at once", () =>
      rotated({
        ...{ temperature, clamp: 1, normsAfterRope: true, normKind: "plain", rotary: 32, valueSize: 32 },
        ...{ layout: { qStep: 128, columns: 777 }, position: 6, tokens: 5 },
      }));
  },
  true,
);

function table({ frequencies, magnitude }: { frequencies: Float64Array; magnitude: number }) {
  const pairs = Array.from({ length: CONTEXT }, (_, position) =>
    Array.from(frequencies, (f) => [Math.cos(position * f) * magnitude, Math.sin(position * f) * magnitude]),
  );
  return Float32Array.from(pairs.flat(2));
}

/** Where element i of [tokens, heads, size] is in rows of `columns`. */
function placeOf({ heads, size, at, step }: Part, i: number, columns: number): number {
  const [t, head] = [Math.floor(i / size / heads), Math.floor(i / size) % heads];
  return t * columns + at + head * step + (i % size);
}

/** [kvHeads, size / 4, context, 4] */
function keyAt(head: number, position: number, i: number, size: number): number {
  return (((head * size) / 4 + Math.floor(i / 4)) * CONTEXT + position) * 4 + (i % 4);
}

/** [kvHeads, context, size] */
function valueAt(head: number, position: number, i: number, size: number): number {
  return (head * CONTEXT + position) * size + i;
}
