import { test } from "vitest";
import { gate_heads } from "../../src/kernels/gate_heads.ts";
import { gateHeads } from "../reference/index.ts";
import { expectClose, expectExact, guarded, onGpu, outputFloats, runSteps, storage } from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";

/** An exponential, which WGSL gives to a few units in the last place, and a quotient. */
const TOLERANCE = 5e-7;

interface Case {
  readonly heads: number;
  readonly size: number;
  readonly tokens: number;
  readonly columns: number;
  readonly at: number;
  readonly step: number;
  readonly perHead?: boolean;
}

onGpu("gate_heads", (gpu) => {
  async function gated(shape: Case, logits?: readonly number[]) {
    const { heads, size, tokens, columns, at, step, perHead = false } = shape;
    const random = seeded(heads * size + tokens);
    const attended = normals(random, tokens * heads * size);
    const perToken = perHead ? heads : heads * size;
    const gates = logits ? Float32Array.from(logits) : normals(random, tokens * perToken, 3);
    // What is no gate is NaN.
    const source = new Float32Array(tokens * columns).fill(Number.NaN);
    for (let i = 0; i < gates.length; i++) {
      const [t, inToken] = [Math.floor(i / perToken), i % perToken];
      const [head, inHead] = perHead ? [inToken, 0] : [Math.floor(inToken / size), inToken % size];
      source[t * columns + at + head * step + inHead] = gates[i] as number;
    }
    const buffer = guarded(gpu(), "attended", attended);
    const args = { ...shape, source: storage(gpu(), "source", source), attended: buffer };
    await runSteps(gpu(), [gate_heads(gpu(), args)], { tokens });
    return {
      output: await outputFloats(gpu(), buffer, attended.length),
      expected: gateHeads(attended, gates),
    };
  }

  test.each<Case & { readonly name: string }>([
    { name: "behind other rows", heads: 4, size: 32, tokens: 3, columns: 384, at: 256, step: 32 },
    { name: "behind each query", heads: 4, size: 32, tokens: 5, columns: 400, at: 32, step: 64 },
    { name: "of one token", heads: 2, size: 64, tokens: 1, columns: 256, at: 64, step: 128 },
    { name: "in half a workgroup", heads: 3, size: 12, tokens: 2, columns: 36, at: 0, step: 12 },
    { name: "in the middle of a row", heads: 5, size: 20, tokens: 7, columns: 333, at: 101, step: 21 },
    { name: "a head", heads: 6, size: 32, tokens: 3, columns: 70, at: 64, step: 1, perHead: true },
    {
      name: "a head of one token",
      heads: 3,
      size: 20,
      tokens: 1,
      columns: 12,
      at: 3,
      step: 4,
      perHead: true,
    },
  ])("gates $name", async ({ name: _, ...shape }) => {
    const { output, expected } = await gated(shape);
    expectClose(output, expected, TOLERANCE);
  });

  test("gates far from 0", async () => {
    const shape = { heads: 2, size: 1, tokens: 2, columns: 2, at: 0, step: 1 };
    const { output, expected } = await gated(shape, [-200, 200, 200, -200]);
    expectExact(
      output,
      expected.map((value) => (Math.abs(value) < 1e-30 ? 0 : value)),
    );
  });
});
