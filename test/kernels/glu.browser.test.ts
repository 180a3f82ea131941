import { test } from "vitest";
import { glu } from "../../src/kernels/glu.ts";
import { glu as reference } from "../reference/index.ts";
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

  test("gates far from 0", async () => {
    const gu = Float32Array.of(-200, 200, 3, 5, -200);
    expectExact((await activated({ rows: 2, tokens: 1, gated: false }, gu.slice(0, 4))).output, [0, 1000]);
    expectExact((await activated({ rows: 2, tokens: 1, gated: true }, gu)).output, [0, 0]);
    expectExact((await activated({ rows: 2, tokens: 1, gated: true }, gu.with(4, 200))).output, [0, 1000]);
  });
});
