import { test } from "vitest";
import { matmul } from "../../src/kernels/matmul.ts";
import { matmul as reference } from "../reference/index.ts";
import { expectClose, guarded, onGpu, outputFloats, poisoned, runSteps, storage } from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";
import { WeightPage } from "../support/weight_page.ts";

/** As for matmul: a few roundings of a sum over 64 products. */
const TOLERANCE = 1e-6;

/** What a matmul adds to the residual stream can be scaled as a whole, and a matrix's scale can include its bias. */
onGpu("matmul with scales", (gpu) => {
  test.each([false, true])("biases scaled: %s", async (scalesBias) => {
    const [random, rows, cols, tokens, scale] = [seeded(5), 70, 64, 3, 0.22] as const;
    const page = new WeightPage(random);
    const { values, ...matrix } = page.matrix("F32", rows, cols);
    const own = Math.fround(-0.7);
    const bias = normals(random, rows, 5);
    const places = { bias: page.floats(bias), scale: page.floats(Float32Array.of(own)) };
    const [x, residual] = [normals(random, tokens * cols), normals(random, tokens * rows)];
    const y = guarded(gpu(), "y", residual);
    const matrices = [{ ...matrix, ...places, buffer: storage(gpu(), "page", page.bytes()) }];
    const args = { matrices, x: storage(gpu(), "x", x), y, tile: 1, add: true, scale, scalesBias };
    await runSteps(gpu(), matmul(gpu(), args), { tokens });
    const scaledBias = bias.map((b) => (scalesBias ? own * b : b));
    const product = reference(x, { values, rows, cols, scale: own, bias: scaledBias });
    const expected = product.map((value, i) => Math.fround(scale) * value + (residual[i] as number));
    expectClose(await outputFloats(gpu(), y, tokens * rows), expected, TOLERANCE);
  });

  test.each([
    { cap: 30, spread: 0.1 },
    { cap: 30, spread: 20 },
    { cap: 2.5, spread: 1 },
    { cap: 15, spread: 1e6 },
  ])("logits around $spread, capped at $cap", async ({ cap, spread }) => {
    const [random, rows, cols, scale] = [seeded(7), 70, 64, 0.3] as const;
    for (const [tokens, tile] of [
      [1, 1],
      [5, 4],
    ] as const) {
      const page = new WeightPage(random);
      const { values, ...matrix } = page.matrix("F32", rows, cols);
      const bias = normals(random, rows, spread);
      const piece = { ...matrix, bias: page.floats(bias), buffer: storage(gpu(), "page", page.bytes()) };
      const padded = Math.ceil(tokens / tile) * tile;
      const x = normals(random, padded * cols, spread / 8);
      const y = poisoned(gpu(), "y", tokens * rows);
      const args = { matrices: [piece], x: storage(gpu(), "x", x), y, tile, scale, softcap: cap };
      await runSteps(gpu(), matmul(gpu(), args), { tokens });
      const product = reference(x.subarray(0, tokens * cols), { values, rows, cols, bias });
      const expected = product.map((value) => cap * Math.tanh((Math.fround(scale) * value) / cap));
      expectClose(await outputFloats(gpu(), y, tokens * rows), expected, TOLERANCE);
    }
  });
});
