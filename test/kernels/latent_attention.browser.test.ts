import { describe, expect, test } from "vitest";
import type { Step } from "../../src/gpu/program.ts";
import { head_matmul } from "../../src/kernels/head_matmul.ts";
import { latent_attention } from "../../src/kernels/latent_attention.ts";
import { latent_kv } from "../../src/kernels/latent_kv.ts";
import { ABSENT } from "../../src/kernels/route.ts";
import { ropeTable } from "../../src/model/rope.ts";
import { attention as reference } from "../reference/index.ts";
import { columns, expandedLatentAttention } from "../reference/latent.ts";
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
  TILE,
} from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";
import { WeightPage } from "../support/weight_page.ts";

/** As attention: errors of a score, amplified by exp to that of its size, and WGSL's own exp. */
const TOLERANCE = 2e-6;

const CONTEXT = 240;

interface Case {
  readonly heads: number;
  readonly rank: number;
  readonly rotary: number;
  readonly tile: number;
  readonly position: number;
  readonly tokens: number;
  /** Of the queries: large ones leave few weights that count. */
  readonly sharpness: number;
  /** Rows of later positions fit better and better, so that the running maximum moves at every step. */
  readonly isRising: boolean;
}

const plain: Case = {
  heads: 3,
  rank: 64,
  rotary: 16,
  tile: 1,
  position: 0,
  tokens: 1,
  sharpness: 1,
  isRising: false,
};

onGpu(
  "latent_attention",
  (gpu) => {
    async function attended(changed: Partial<Case>) {
      const shape = { ...plain, ...changed };
      const { heads, rank, rotary, tile, position, tokens } = shape;
      const width = rank + rotary;
      const last = position + tokens;
      const random = seeded(width + last);
      const q = normals(random, tokens * heads * width, shape.sharpness);
      const rows = normals(random, last * width);
      if (shape.isRising) alignRows(rows, q.subarray(0, width));
      const scale = Math.fround(1 / Math.sqrt(width));
      // What lies past the last position, and past the last query of a tile, is NaN.
      const cache = new Float32Array(CONTEXT * width).fill(Number.NaN);
      cache.set(rows);
      const queries = new Float32Array(Math.ceil((tokens * heads) / tile) * tile * width).fill(Number.NaN);
      queries.set(q);
      const out = poisoned(gpu(), "out", tokens * heads * rank);
      const step = latent_attention(gpu(), {
        ...{ heads, rank, rotary, scale, tile, out },
        queries: storage(gpu(), "queries", queries),
        cache: storage(gpu(), "cache", cache),
      });
      await runSteps(gpu(), [step], { position, tokens });
      const positions = Array.from({ length: tokens }, (_, t) => position + t);
      const values = columns(rows, width, 0, rank);
      const expected = reference(q, rows, values, { heads, kvHeads: 1, positions, scale });
      expectClose(await outputFloats(gpu(), out, expected.length), expected, TOLERANCE);
    }

    test("the first position", () => attended({}));
    test("the second position", () => attended({ position: 1 }));
    test.each([30, 31, 32, 33])("position %d, about the lanes of a workgroup", (position) =>
      attended({ position, tile: 3 }),
    );
    test("many positions", () => attended({ position: 200, tile: 3 }));
    test("one head", () => attended({ heads: 1, position: 40 }));
    test("16 heads in tiles", () => attended({ heads: 16, position: 40, tile: TILE }));
    test("heads that fill no whole tile", () => attended({ heads: 5, position: 40, tile: TILE / 2 }));
    test("a rank of 512", () => attended({ rank: 512, rotary: 64, heads: 4, position: 50, tile: TILE / 2 }));
    test("sharp weights", () => attended({ position: 90, sharpness: 12, tile: 3 }));
    test("a maximum that keeps rising", () => attended({ position: 90, isRising: true, tile: 3 }));

    test.each([1, TILE])("a chunk from the start, tile %d", (tile) => attended({ tile, tokens: 13 }));
    test("a chunk whose tiles end inside a token", () =>
      attended({ tile: TILE / 2, heads: 5, tokens: 7, position: 60 }));
    test("a chunk of one head, several tokens in a tile", () =>
      attended({ heads: 1, tile: TILE, tokens: 21, position: 25 }));
    test("a chunk of 16 heads with a rank of 512", () =>
      attended({ rank: 512, rotary: 64, heads: 16, tile: TILE, tokens: 3, position: 30 }));
    test("a chunk with a rising maximum", () => attended({ tile: TILE, tokens: 40, isRising: true }));

    describe("with the kernels before and behind it", () => {
      const shapes = [
        { heads: 1, rank: 64, rotary: 16 },
        { heads: 3, rank: 64, rotary: 64 },
        { heads: 16, rank: 64, rotary: 16 },
        { heads: 3, rank: 512, rotary: 64 },
      ];

      test.each(shapes)("$heads heads, rank $rank, rotary $rotary", async (shape) => {
        const block = makeBlock(shape);
        const whole = await block.run([TOKENS]);
        expectClose(whole, block.expected, TOLERANCE);
        for (const chunks of [[5, 1, TOKENS - 6], Array<number>(TOKENS).fill(1)]) {
          const found = await block.run(chunks);
          expectClose(found, block.expected, TOLERANCE);
          // A query's result depends on its own replay only through the kernels' order of additions.
          expectClose(found, whole, 1e-6);
        }
      });

      test("a fault stops all of them", async () => {
        const block = makeBlock({ heads: 3, rank: 64, rotary: 16 });
        expectExact(await block.run([TOKENS], ABSENT), await block.run([TOKENS]));
        for (const word of [0, 7]) expect(await block.run([TOKENS], word)).toBeUndefined();
      });
    });

    const TOKENS = 11;

    function makeBlock({ heads, rank, rotary }: Pick<Case, "heads" | "rank" | "rotary">) {
      const [plainSize, valueSize] = [32, 48];
      const [qEach, width] = [plainSize + rotary, rank + rotary];
      const random = seeded(heads * width);
      const q = normals(random, TOKENS * heads * qEach);
      const kv = normals(random, TOKENS * width);
      const norm = normals(random, rank);
      const page = new WeightPage(random);
      const keyUp = page.matrix("F32", heads * rank, plainSize);
      const valueUp = page.matrix("F32", heads * valueSize, rank);
      const base = page.floats(norm);
      const frequencies = Array.from({ length: rotary / 2 }, (_, i) => 500 ** ((-2 * i) / rotary));
      const [magnitude, epsilon, scale] = [1.25, 1e-3, Math.fround(1.5 / Math.sqrt(qEach))];
      const buffer = storage(gpu(), "page", page.bytes());
      const table = storage(gpu(), "table", ropeTable(CONTEXT, { frequencies, magnitude }));
      const expected = expandedLatentAttention({
        ...{ q, kv, norm, epsilon, rotary, frequencies, magnitude, scale, variant: "normal" },
        keyUp: { values: keyUp.values, heads, rows: rank, cols: plainSize },
        valueUp: { values: valueUp.values, heads, rows: valueSize, cols: rank },
        positions: Array.from({ length: TOKENS }, (_, t) => t),
      });

      /** [TOKENS, heads, valueSize], replay by replay; nothing where nothing was written. */
      async function run(chunks: readonly number[], word?: number): Promise<Float32Array | undefined> {
        const cache = poisoned(gpu(), "cache", CONTEXT * width);
        const fault = word === undefined ? undefined : storage(gpu(), "fault", Uint32Array.of(word));
        const found: number[] = [];
        let position = 0;
        for (const tokens of chunks) {
          const tile = tokens > 1 ? TILE / 2 : 1;
          const padded = Math.ceil(tokens / tile) * tile;
          const part = (x: Float32Array, row: number) => {
            const rows = new Float32Array(padded * row).fill(Number.NaN);
            rows.set(x.subarray(position * row, (position + tokens) * row));
            return storage(gpu(), "projected", rows);
          };
          const projected = { buffer: part(q, heads * qEach), row: heads * qEach, each: qEach };
          const queries = poisoned(gpu(), "queries", padded * heads * width);
          const mixed = poisoned(gpu(), "mixed", padded * heads * rank);
          const out = poisoned(gpu(), "out", tokens * heads * valueSize);
          const steps: Step[] = [
            latent_kv(gpu(), {
              ...{ heads, rotary, interleaved: true, epsilon, table, queries, cache, fault },
              norm: { buffer, base, length: rank },
              kv: { buffer: part(kv, width), row: width },
              q: { ...projected, first: plainSize },
            }),
            ...head_matmul(gpu(), {
              ...{ matrices: [{ ...keyUp, buffer }], rows: rank, x: projected, tile, fault },
              y: { buffer: queries, row: heads * width, each: width },
            }),
            latent_attention(gpu(), {
              ...{ heads, rank, rotary, scale, queries, cache, out: mixed, fault },
              tile: Math.min(TILE, heads * tile),
            }),
            ...head_matmul(gpu(), {
              ...{ matrices: [{ ...valueUp, buffer }], rows: valueSize, tile, fault },
              x: { buffer: mixed, row: heads * rank, each: rank },
              y: { buffer: out, row: heads * valueSize, each: valueSize },
            }),
          ];
          await runSteps(gpu(), steps, { position, tokens });
          if (word !== undefined && word !== ABSENT) {
            for (const untouched of [cache, queries, mixed, out]) {
              expectPoison(await downloadWords(gpu(), untouched), untouched.label);
            }
            return undefined;
          }
          found.push(...(await outputFloats(gpu(), out, tokens * heads * valueSize)));
          position += tokens;
        }
        return Float32Array.from(found);
      }

      return { run: run as (...args: Parameters<typeof run>) => Promise<Float32Array>, expected };
    }
  },
  true,
);

/** Makes row p a multiple of a query that grows with p. */
function alignRows(rows: Float32Array, query: Float32Array): void {
  const norm = Math.hypot(...query);
  for (let i = 0; i < rows.length; i++) {
    const p = Math.floor(i / query.length);
    const fit = ((20 * p * query.length) / rows.length) * ((query[i % query.length] as number) / norm);
    rows[i] = fit + 0.1 * (rows[i] as number);
  }
}
