import { test } from "vitest";
import { soft_mixture } from "../../src/kernels/soft_mixture.ts";
import { softMixture } from "../reference/soft_mixture.ts";
import { expectClose, guarded, onGpu, outputFloats, poisoned, runSteps, storage } from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";

const TOLERANCE = 1e-6;

interface Case {
  readonly experts: number;
  readonly cols: number;
  readonly tokens: number;
  readonly sharpness?: number;
  readonly scale?: number;
  readonly store?: boolean;
}

onGpu("soft_mixture", (gpu) => {
  async function agrees({ experts, cols, tokens, sharpness = 1, scale = 1, store = false }: Case) {
    const random = seeded(experts + cols);
    const logits = normals(random, tokens * experts, sharpness);
    const rows = normals(random, tokens * experts * cols);
    const before = normals(random, tokens * cols);
    // Logits lie behind other products of a token.
    const first = 5;
    const wide = new Float32Array(tokens * (first + experts)).fill(Number.NaN);
    for (const [i, value] of logits.entries()) {
      wide[Math.floor(i / experts) * (first + experts) + first + (i % experts)] = value;
    }
    const x = store ? poisoned(gpu(), "x", before.length) : guarded(gpu(), "x", before);
    const step = soft_mixture(gpu(), {
      ...{ experts, cols, scale, store, x },
      logits: { buffer: storage(gpu(), "logits", wide), row: first + experts, first },
      rows: storage(gpu(), "rows", rows),
    });
    await runSteps(gpu(), [step], { tokens });
    const expected = softMixture(logits, rows, experts, scale, store ? undefined : before);
    expectClose(await outputFloats(gpu(), x, expected.length), expected, TOLERANCE);
  }

  test("one token", () => agrees({ experts: 4, cols: 64, tokens: 1 }));
  test("513 tokens", () => agrees({ experts: 4, cols: 36, tokens: 513 }));
  test("one expert", () => agrees({ experts: 1, cols: 300, tokens: 3 }));
  test("a scale", () => agrees({ experts: 7, cols: 64, tokens: 2, scale: 0.3 }));
  test("in place of what was there", () => agrees({ experts: 3, cols: 64, tokens: 2, store: true }));
  test("logits far apart", () => agrees({ experts: 4, cols: 64, tokens: 5, sharpness: 200 }));
});
