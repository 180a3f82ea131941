import { test } from "vitest";
import { delta_net_norm } from "../../src/kernels/delta_net_norm.ts";
import { columnsOf, gatedNorm } from "../reference/recurrent.ts";
import {
  downloadWords,
  expectClose,
  expectExact,
  guarded,
  onGpu,
  outputFloats,
  runSteps,
  storage,
} from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";
import { WeightPage } from "../support/weight_page.ts";

/** A norm, and an exponential under a division. */
const TOLERANCE = 5e-7;

interface Case {
  readonly heads: number;
  readonly size: number;
  readonly tokens: number;
  /** Of the buffer the gate lies in. */
  readonly columns: number;
  readonly at: number;
  /** Of x: small ones make epsilon count. */
  readonly scale: number;
}

onGpu(
  "delta_net_norm",
  (gpu) => {
    function makeCase({ heads, size, tokens, columns, at, scale }: Case, fault?: GPUBuffer) {
      const random = seeded(heads + size);
      const page = new WeightPage(random);
      const weight = normals(random, size);
      const base = page.floats(weight);
      const values = normals(random, tokens * heads * size, scale);
      const z = normals(random, tokens * columns, 3);
      const x = guarded(gpu(), "x", values);
      const step = delta_net_norm(gpu(), {
        heads,
        weight: { buffer: storage(gpu(), "page", page.bytes()), base, length: size },
        epsilon: 1e-4,
        gate: { buffer: storage(gpu(), "z", z), columns, at },
        ...{ x, fault },
      });
      const expected = gatedNorm(values, weight, columnsOf(z, columns, at, heads * size), 1e-4);
      return { x, values, step, expected };
    }

    test.each<Case>([
      { heads: 2, size: 128, tokens: 1, columns: 1028, at: 768, scale: 1 },
      { heads: 4, size: 32, tokens: 5, columns: 131, at: 3, scale: 10 },
      { heads: 3, size: 36, tokens: 3, columns: 108, at: 0, scale: 1e-3 },
      { heads: 1, size: 64, tokens: 2, columns: 70, at: 5, scale: 1 },
    ])("$tokens tokens of $heads heads of $size, x about $scale", async (shape) => {
      const { x, values, step, expected } = makeCase(shape);
      await runSteps(gpu(), [step], { tokens: shape.tokens, position: 9 });
      expectClose(await outputFloats(gpu(), x, values.length), expected, TOLERANCE);
    });

    test("a stop leaves x", async () => {
      const fault = storage(gpu(), "fault", Uint32Array.of(3));
      const { x, values, step } = makeCase(
        { heads: 2, size: 32, tokens: 2, columns: 64, at: 0, scale: 1 },
        fault,
      );
      await runSteps(gpu(), [step], { tokens: 2 });
      const words = await downloadWords(gpu(), x);
      expectExact(new Float32Array(words.buffer, 0, values.length), values);
    });
  },
  true,
);
