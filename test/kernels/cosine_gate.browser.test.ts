import { test } from "vitest";
import { cosine_gate } from "../../src/kernels/cosine_gate.ts";
import { cosineGate } from "../reference/stick_breaking.ts";
import { expectClose, onGpu, outputFloats, poisoned, runSteps, storage } from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";
import { WeightPage } from "../support/weight_page.ts";

const TOLERANCE = 1e-6;

interface Case {
  readonly experts: number;
  readonly cols: number;
  readonly tokens: number;
  readonly factor: number;
  readonly temperature?: number;
  readonly most?: number;
  readonly size: number;
}

onGpu("cosine_gate", (gpu) => {
  async function agrees(options: Partial<Case>) {
    const shape = { experts: 8, cols: 32, tokens: 3, factor: 1, size: 1, ...options };
    const { experts, cols, tokens, factor, temperature, most, size } = shape;
    const least = 1e-6;
    const random = seeded(cols + tokens);
    const [z, centroids] = [normals(random, tokens * cols, size), normals(random, experts * cols)];
    const page = new WeightPage(random);
    const base = page.floats(centroids);
    const at = page.floats(Float32Array.of(temperature ?? 0));
    const buffer = storage(gpu(), "page", page.bytes());
    const logits = poisoned(gpu(), "logits", tokens * experts);
    const step = cosine_gate(gpu(), {
      ...{ experts, cols, factor, least, logits },
      z: storage(gpu(), "z", z),
      centroids: { buffer, base, length: experts * cols },
      temperature: temperature === undefined ? undefined : { vector: { buffer, base: at, length: 1 }, most },
    });
    await runSteps(gpu(), [step], { tokens });
    const expected = cosineGate(z, centroids, { experts, factor, temperature, most, least });
    expectClose(await outputFloats(gpu(), logits, expected.length), expected, TOLERANCE);
  }

  test("one token", () => agrees({ tokens: 1 }));
  test("513 tokens", () => agrees({ tokens: 513 }));
  test("a factor and a temperature", () => agrees({ factor: 1.5, temperature: 1.3 }));
  test("a temperature below 0", () => agrees({ temperature: -0.7 }));
  test("a temperature that is cut off", () => agrees({ temperature: 6, most: Math.log(100) }));
  test("more experts than lanes, of an odd length", () => agrees({ experts: 70, cols: 17 }));
  test("an input without length", () => agrees({ size: 1e-9 }));
});
