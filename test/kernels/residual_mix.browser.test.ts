import { test } from "vitest";
import { residual_mix } from "../../src/kernels/residual_mix.ts";
import { residualMix as reference } from "../reference/index.ts";
import {
  expectClose,
  expectExact,
  guarded,
  onGpu,
  outputFloats,
  poisoned,
  runSteps,
  storage,
} from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";

/** An exponential of a few units in the last place, a quotient, two products, sums. */
const TOLERANCE = 5e-7;

onGpu("residual_mix", (gpu) => {
  test.each([
    { cols: 64, tokens: 1, add: false, scale: 1 },
    { cols: 100, tokens: 5, add: true, scale: 0.25 },
    { cols: 36, tokens: 513, add: true, scale: 1 },
  ])("$tokens tokens of $cols columns, added $add, times $scale", async ({ cols, tokens, add, scale }) => {
    const random = seeded(cols + tokens);
    const [a, b, before] = [1, 2, 3].map(() => normals(random, tokens * cols)) as [
      Float32Array<ArrayBuffer>,
      Float32Array<ArrayBuffer>,
      Float32Array<ArrayBuffer>,
    ];
    const z = normals(random, tokens * 2, 3);
    const y = add ? guarded(gpu(), "y", before) : poisoned(gpu(), "y", tokens * cols);
    const [zs, as, bs] = [z, a, b].map((values) => storage(gpu(), "x", values)) as [
      GPUBuffer,
      GPUBuffer,
      GPUBuffer,
    ];
    await runSteps(gpu(), [residual_mix(gpu(), { cols, z: zs, a: as, b: bs, y, add, scale })], { tokens });
    const expected = reference(z, a, b).map((value, i) => scale * value + (add ? (before[i] as number) : 0));
    expectClose(await outputFloats(gpu(), y, tokens * cols), expected, TOLERANCE);
  });

  test("a tie is halves; far apart, one counts and the other is nothing", async () => {
    const z = storage(gpu(), "z", Float32Array.of(3, 3, 200, -200, -1e9, 1e9));
    const [a, b] = [Float32Array.of(1, 1, 1), Float32Array.of(3, 3, 3)].map((values) =>
      storage(gpu(), "x", values),
    );
    const y = poisoned(gpu(), "y", 3);
    const step = residual_mix(gpu(), {
      cols: 1,
      z,
      a: a as GPUBuffer,
      b: b as GPUBuffer,
      y,
      add: false,
      scale: 1,
    });
    await runSteps(gpu(), [step], { tokens: 3 });
    expectExact(await outputFloats(gpu(), y, 3), [2, 1, 3]);
  });
});
