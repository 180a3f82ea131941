import { expect, test } from "vitest";
import { momentum } from "../../src/kernels/momentum.ts";
import { type MomentumOptions, momentum as reference } from "../reference/momentum.ts";
import { expectClose, guarded, onGpu, outputFloats, poisoned, runSteps } from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";

/** A few products and sums, and for Adam a root. */
const TOLERANCE = 3e-7;

interface Case {
  readonly cols: number;
  readonly tokens: number;
  readonly rule: MomentumOptions;
  readonly isStart?: boolean;
  readonly isPostNorm?: boolean;
  /** Of what the block gives. */
  readonly scale?: number;
}

onGpu("momentum", (gpu) => {
  const heavyBall = { factor: 0.7, step: 1 };
  const adam = { factor: 0.7, step: 0.5, adam: { mean: 0.9, square: 0.999, step: 0.1 } };

  test.each<[string, Case]>([
    ["one token", { cols: 64, tokens: 1, rule: heavyBall }],
    ["513 tokens, part of a workgroup", { cols: 36, tokens: 513, rule: heavyBall }],
    ["from rest", { cols: 300, tokens: 3, rule: { factor: 0.9, step: 0.3 }, isStart: true }],
    ["before a norm", { cols: 64, tokens: 5, rule: heavyBall, isPostNorm: true }],
    ["as Adam has it", { cols: 64, tokens: 5, rule: adam, isStart: true }],
    ["as Adam has it, before a norm", { cols: 64, tokens: 2, rule: adam, isStart: true, isPostNorm: true }],
    ["as Adam has it, of next to nothing", { cols: 64, tokens: 2, rule: adam, isStart: true, scale: 1e-4 }],
  ])("%s", async (_, { cols, tokens, rule, isStart = false, isPostNorm = false, scale = 1 }) => {
    const random = seeded(cols + tokens);
    const [f, before, x] = [scale, 1, 1].map((each) => normals(random, tokens * cols, each)) as [
      Float32Array<ArrayBuffer>,
      Float32Array<ArrayBuffer>,
      Float32Array<ArrayBuffer>,
    ];
    const branch = guarded(gpu(), "branch", f);
    // Where it starts the buffer may hold anything.
    const velocity = isStart ? poisoned(gpu(), "velocity", f.length) : guarded(gpu(), "velocity", before);
    const stream = guarded(gpu(), "x", x);
    const step = momentum(gpu(), { cols, ...rule, isStart, isPostNorm, branch, velocity, x: stream });
    await runSteps(gpu(), [step], { tokens });
    const rest = isStart ? new Float32Array(f.length) : before;
    const expected = reference(f, rest, x, rule);
    expectClose(await outputFloats(gpu(), velocity, f.length), expected.velocity, TOLERANCE);
    const [moved, kept] = isPostNorm ? [branch, stream] : [stream, branch];
    expectClose(await outputFloats(gpu(), moved, f.length), expected.moved, TOLERANCE);
    expect(await outputFloats(gpu(), kept, f.length)).toEqual(isPostNorm ? x : f);
  });
});
