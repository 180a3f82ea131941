import { test } from "vitest";
import { embed_series } from "../../src/kernels/embed_series.ts";
import { embedSeries as reference } from "../reference/index.ts";
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
import { WeightPage } from "../support/weight_page.ts";

/** Products and sums of few numbers, an exponential of a few units in the last place, a quotient. */
const TOLERANCE = 5e-7;

interface Case {
  readonly cols: number;
  readonly size: number;
  readonly tokens: number;
  readonly position?: number;
}

onGpu("embed_series", (gpu) => {
  async function embedded({ cols, size, tokens, position = 0 }: Case, series?: readonly number[]) {
    const random = seeded(cols + tokens);
    const page = new WeightPage(random);
    const [gates, values] = [normals(random, cols * size), normals(random, cols * size)];
    const [gateBase, valueBase] = [page.floats(gates), page.floats(values)];
    const buffer = storage(gpu(), "page", page.bytes());
    const points = series ? Float32Array.from(series) : normals(random, tokens * size, 2);
    const sequence = Float32Array.from([
      ...new Array(position * size).fill(Number.NaN),
      ...points,
      Number.NaN,
    ]);
    const x = poisoned(gpu(), "x", tokens * cols);
    const step = embed_series(gpu(), {
      ...{ size, activation: "silu", points: storage(gpu(), "points", sequence), x },
      gate: { buffer, base: gateBase, length: gates.length },
      value: { buffer, base: valueBase, length: values.length },
    });
    await runSteps(gpu(), [step], { position, tokens });
    return {
      x: await outputFloats(gpu(), x, tokens * cols),
      expected: reference(gates, values, size, points),
    };
  }

  test.each<Case>([
    { cols: 64, size: 1, tokens: 1 },
    { cols: 100, size: 1, tokens: 7, position: 3 },
    { cols: 65, size: 3, tokens: 2, position: 5 },
    { cols: 12, size: 5, tokens: 513 },
  ])("$tokens points of $size numbers, $cols columns, from position $position", async (shape) => {
    const { x, expected } = await embedded(shape);
    expectClose(x, expected, TOLERANCE);
  });

  test("points far from 0, and 0 itself", async () => {
    const { x, expected } = await embedded({ cols: 32, size: 1, tokens: 5 }, [0, -0, 1e9, -1e9, 90]);
    expectExact(x.subarray(0, 64), new Float32Array(64));
    expectClose(x.subarray(64), expected.subarray(64), TOLERANCE);
  });
});
