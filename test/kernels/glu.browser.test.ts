import { expect, test } from "vitest";
import type { Activation } from "../../src/kernels/activation.ts";
import { glu } from "../../src/kernels/glu.ts";
import { activate, glu as reference } from "../reference/index.ts";
import {
  expectClose,
  expectExact,
  onGpu,
  outputFloats,
  poisoned,
  runSteps,
  storage,
} from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";

/** Two exponentials, which WGSL gives to a few units in the last place, two quotients, two products. */
const TOLERANCE = 5e-7;

interface Case {
  readonly rows: number;
  readonly tokens: number;
  readonly gated: boolean;
}

onGpu("glu", (gpu) => {
  async function activated({ rows, tokens, gated }: Case, gu?: Float32Array<ArrayBuffer>) {
    const stride = 2 * rows + (gated ? 1 : 0);
    const input = gu ?? normals(seeded(rows + tokens), tokens * stride, 4);
    const h = poisoned(gpu(), "h", tokens * rows);
    await runSteps(gpu(), [glu(gpu(), { rows, gated, gu: storage(gpu(), "gu", input), h })], { tokens });
    return { input, output: await outputFloats(gpu(), h, tokens * rows) };
  }

  test.each<Case>([
    { rows: 128, tokens: 1, gated: false },
    { rows: 100, tokens: 5, gated: false },
    { rows: 64, tokens: 1, gated: true },
    { rows: 36, tokens: 7, gated: true },
    { rows: 1, tokens: 2, gated: true },
  ])("$tokens tokens of $rows rows, gated $gated", async (shape) => {
    const { input, output } = await activated(shape);
    expectClose(output, reference(input, shape.rows, shape.gated), TOLERANCE);
  });

  const gates = [0, 1e-3, 0.1, 0.7, 1.25, 2.5, 3.5, 6.9, 7.1, 8, 8.2, 12, 20, 88, 90, 200, 1e4, 1e9];
  const ups = [-1e3, -7.1, -2.4, -1, 0, 0.3, 1, 2.6, 6.9, 7.1, 1e3];
  const all = gates.flatMap((g) => [g, -g]).flatMap((g) => ups.map((u): [number, number] => [g, u]));

  /** Each value for itself; what is next to nothing beside its `up` may be nothing. */
  function expectEach(output: ArrayLike<number>, expected: readonly number[], scale: (i: number) => number) {
    const wrong = expected.findIndex((value, i) => {
      return !(Math.abs((output[i] as number) - value) <= 1e-6 * (Math.abs(value) + scale(i)));
    });
    expect(wrong, `${all[wrong]}: ${output[wrong]} for ${expected[wrong]}`).toBe(-1);
  }

  test.each<[Activation, { limit?: number; alpha?: number }]>([
    ["silu", {}],
    ["gelu", {}],
    ["gelu-erf", {}],
    ["sigmoid", {}],
    ["tanh", {}],
    ["relu", {}],
    ["relu-squared", {}],
    ["swiglu-oai", {}],
    ["swiglu-oai", { limit: 2.5, alpha: 1 }],
  ])("%s %j", async (activation, options) => {
    const rows = all.length;
    for (const gated of [false, true]) {
      const gu = Float32Array.from([...all.map(([g]) => g), ...all.map(([, u]) => u), ...(gated ? [0] : [])]);
      const h = poisoned(gpu(), "h", rows);
      const step = glu(gpu(), { rows, gated, activation, ...options, gu: storage(gpu(), "gu", gu), h });
      await runSteps(gpu(), [step], { tokens: 1 });
      const expected = all.map(
        (_, i) =>
          activate({ activation, ...options }, gu[i] as number, gu[rows + i] as number) * (gated ? 0.5 : 1),
      );
      expectEach(await outputFloats(gpu(), h, rows), expected, (i) => 1 + Math.abs(gu[rows + i] as number));
    }
  });

  test.each<Activation>(["silu", "gelu", "gelu-erf", "relu", "relu-squared"])(
    "one matrix, %s",
    async (activation) => {
      for (const gated of [false, true]) {
        const [rows, tokens] = [70, 3];
        const stride = rows + (gated ? 1 : 0);
        const up = normals(seeded(rows), tokens * stride, 4);
        const h = poisoned(gpu(), "h", tokens * rows);
        const args = { rows, gated, activation, single: true, gu: storage(gpu(), "gu", up), h };
        await runSteps(gpu(), [glu(gpu(), args)], { tokens });
        const expected = Float64Array.from({ length: tokens * rows }, (_, i) => {
          const start = Math.floor(i / rows) * stride;
          const whole = gated ? 1 / (1 + Math.exp(-(up[start + rows] as number))) : 1;
          return activate({ activation }, up[start + (i % rows)] as number, 1) * whole;
        });
        expectClose(await outputFloats(gpu(), h, tokens * rows), expected, TOLERANCE);
      }
    },
  );

  test("gates far from 0", async () => {
    const gu = Float32Array.of(-200, 200, 3, 5, -200);
    expectExact((await activated({ rows: 2, tokens: 1, gated: false }, gu.slice(0, 4))).output, [0, 1000]);
    expectExact((await activated({ rows: 2, tokens: 1, gated: true }, gu)).output, [0, 0]);
    expectExact((await activated({ rows: 2, tokens: 1, gated: true }, gu.with(4, 200))).output, [0, 1000]);
  });
});
