import { test } from "vitest";
import { task_input } from "../../src/kernels/task_input.ts";
import { withTail } from "../reference/request.ts";
import { expectExact, onGpu, outputFloats, poisoned, runSteps, storage } from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";
import { WeightPage } from "../support/weight_page.ts";

onGpu("task_input", (gpu) => {
  test.each([
    [64, 32, 1, 0],
    [36, 4, 5, 2],
    [128, 160, 513, 1],
  ])("%i and %i elements, %i tokens, task %i", async (cols, size, tokens, task) => {
    const random = seeded(cols);
    const x = normals(random, tokens * cols);
    const table = normals(random, 3 * size);
    const page = new WeightPage(random);
    const base = page.floats(table);
    const y = poisoned(gpu(), "y", tokens * (cols + size));
    const step = task_input(gpu(), {
      ...{ cols, size, y },
      embedding: { buffer: storage(gpu(), "page", page.bytes()), base, length: table.length },
      request: storage(gpu(), "request", Uint32Array.of(77, task, 0)),
      x: storage(gpu(), "x", x),
    });
    await runSteps(gpu(), [step], { tokens });
    const found = await outputFloats(gpu(), y, tokens * (cols + size));
    expectExact(found, withTail(x, cols, table.slice(task * size, (task + 1) * size)));
  });
});
