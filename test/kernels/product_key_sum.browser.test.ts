import { test } from "vitest";
import { mixedRow } from "../../src/kernels/product_key_mix.ts";
import { product_key_sum } from "../../src/kernels/product_key_sum.ts";
import { expectClose, guarded, onGpu, outputFloats, poisoned, runSteps, storage } from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";

const TOLERANCE = 3e-7;

interface Case {
  readonly decompose: "horizontal" | "vertical";
  readonly keys: number;
  readonly cols: number;
  readonly tokens: number;
  readonly add: boolean;
  readonly scale: number;
}

onGpu("product_key_sum", (gpu) => {
  test.each<Case>([
    { decompose: "horizontal", keys: 8, cols: 128, tokens: 3, add: true, scale: 1 },
    { decompose: "horizontal", keys: 70, cols: 100, tokens: 1, add: false, scale: 0.5 },
    { decompose: "vertical", keys: 8, cols: 128, tokens: 1, add: true, scale: 1.5 },
    { decompose: "vertical", keys: 5, cols: 70, tokens: 513, add: false, scale: 1 },
  ])("$decompose, $keys keys, $cols columns, $tokens tokens, add $add", async (shape) => {
    const { decompose, keys, cols, tokens, add, scale } = shape;
    const units = 4;
    const random = seeded(keys + cols);
    const { sources, sumsAt, row } = mixedRow({ keys, units, decompose });
    const half = cols / sources;
    const products = normals(random, tokens * sources * cols);
    const mixed = normals(random, tokens * row).map((value) => Math.max(0, value));
    const each = 4 * Math.ceil((keys * half) / 4);
    const page = normals(random, sources * each);
    const before = normals(random, tokens * cols);
    const y = add ? guarded(gpu(), "y", before) : poisoned(gpu(), "y", before.length);
    const biases = storage(gpu(), "page", page);
    const step = product_key_sum(gpu(), {
      ...{ decompose, keys, units, cols, y, add, scale },
      biases: Array.from({ length: sources }, (_, i) => ({
        ...{ buffer: biases, base: (i * each) / 4, length: keys * half },
      })),
      products: storage(gpu(), "products", products),
      mixed: storage(gpu(), "mixed", mixed),
    });
    await runSteps(gpu(), [step], { tokens });

    const expected = Float64Array.from(before, (old, i) => {
      const [t, c] = [Math.floor(i / cols), i % cols];
      const [which, d] = [Math.floor(c / half), c % half];
      let sum = 0;
      for (let p = 0; p < sources; p++) {
        sum += products[((t * sources + which) * sources + p) * half + d] as number;
      }
      for (let k = 0; k < keys; k++) {
        const weight = mixed[t * row + sumsAt + which * keys + k] as number;
        sum += weight * (page[which * each + k * half + d] as number);
      }
      return (add ? old : 0) + scale * sum;
    });
    expectClose(await outputFloats(gpu(), y, before.length), expected, TOLERANCE);
  });
});
