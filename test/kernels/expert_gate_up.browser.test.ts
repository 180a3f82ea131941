import { describe, expect, test } from "vitest";
import type { Activation } from "../../src/kernels/activation.ts";
import { expert_gate_up } from "../../src/kernels/expert_gate_up.ts";
import type { PageMatrix } from "../../src/kernels/matrix.ts";
import type { TensorType } from "../../src/quant/formats.ts";
import { runnableTypes } from "../../src/quant/layout.ts";
import { expertGateUp as reference } from "../reference/index.ts";
import { onGpu, poisoned, runSteps, storage, TILE } from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";
import { expectRows, makePool, pairArgs } from "./expert_pool.ts";
import { randomExperts, routeSets } from "./routes.ts";

/** Two dots of up to 512 terms in f32, multiplied, and WGSL's exp in between. */
const TOLERANCE = 1e-6;

interface Case {
  readonly types: readonly [gate: TensorType, up: TensorType];
  readonly rows: number;
  readonly cols: number;
  readonly experts: number;
  readonly topK: number;
  readonly tokens: number;
  /** Absent: pairs are not grouped. */
  readonly tile: number | undefined;
  readonly absent: readonly number[];
  readonly segments: readonly number[];
  readonly isScaled: boolean;
  readonly isBiased: boolean;
  readonly activation: Activation | undefined;
  readonly limit: number | undefined;
  readonly weightsFirst: boolean;
  readonly inputScale: number | undefined;
  /** Standard deviation of x. */
  readonly spread: number;
  readonly tolerance: number;
  /** [tokens, topK], instead of random ones. */
  readonly chosen: readonly number[] | undefined;
}

const plain: Case = {
  types: ["F32", "F32"],
  rows: 72,
  cols: 256,
  experts: 4,
  topK: 2,
  tokens: 3,
  tile: undefined,
  absent: [],
  segments: [4],
  isScaled: false,
  isBiased: false,
  activation: undefined,
  limit: undefined,
  weightsFirst: false,
  inputScale: undefined,
  spread: 0.3,
  tolerance: TOLERANCE,
  chosen: undefined,
};

onGpu("expert_gate_up", (gpu) => {
  async function ran(changed: Partial<Case>): Promise<Float32Array> {
    const { types, rows, cols, experts, topK, tokens, tile, ...rest } = { ...plain, ...changed };
    const random = seeded(rows + cols + tokens);
    const matrices = types.map((type) => ({ type, rows, cols }));
    const pool = makePool(gpu(), random, { experts, matrices, ...rest });
    const chosen = rest.chosen ?? randomExperts(random, tokens, topK, experts);
    const routes = routeSets(random, topK, chosen, pool.slotOf);
    const x = normals(random, tokens * cols, rest.spread);
    const hidden = poisoned(gpu(), "hidden", chosen.length * rows);
    const pairs = pairArgs(gpu(), routes, experts, tile);
    const [gate, up] = pool.matrices as [PageMatrix, PageMatrix];
    const { activation, limit, weightsFirst, inputScale } = rest;
    const shared = {
      ...{ ...pairs, pageBytes: pool.pageBytes, gate, up, x: storage(gpu(), "x", x), hidden },
      ...{ activation, limit, weightsFirst, inputScale },
    };
    const steps = pool.segments.map((segment) => expert_gate_up(gpu(), { ...shared, segment }));
    await runSteps(gpu(), steps, { tokens });
    const [g, u] = pool.reference as [(typeof pool.reference)[0], (typeof pool.reference)[0]];
    const isPresent = (pair: number) => !rest.absent.includes(chosen[pair] as number);
    const scales = inputScale === undefined ? undefined : chosen.map(() => inputScale);
    const weights = weightsFirst ? routes.weights : scales;
    const expected = reference(x, g, u, chosen, { activation, limit, weights });
    return expectRows(gpu(), hidden, expected, rows, isPresent, rest.tolerance);
  }

  describe.each([
    ["pair by pair", undefined],
    ["grouped", TILE],
  ])("%s", (_, tile) => {
    test.each(runnableTypes)("%s", async (type) => {
      await ran({ types: [type, type], tile });
    });
    test("gate and up of different types", () => ran({ types: ["Q4_K", "Q6_K"], tile, cols: 512 }));
    test("a scale for each expert", () => ran({ types: ["Q8_0", "Q4_0"], tile, isScaled: true }));
    test("biases", () => ran({ tile, isBiased: true, types: ["F32", "Q8_0"], tokens: 5 }));
    test("scales and then biases", () =>
      ran({ tile, isScaled: true, isBiased: true, types: ["MXFP4", "MXFP4"], experts: 5, segments: [2, 3] }));
    test.each<Activation>(["gelu", "relu", "relu-squared", "swiglu-oai"])(
      "%s, near 0 and far from it",
      async (activation) => {
        for (const spread of [0.05, 1, 300]) {
          // Of large products only those whose terms cancel are not cut off.
          const tolerance = spread === 300 ? 1e-5 : TOLERANCE;
          await ran({ activation, limit: 1.5, tile, spread, tolerance, cols: 64, isBiased: spread === 1 });
        }
        expect.hasAssertions();
      },
    );
    test("weights before the expert, which its biases are not multiplied by", async () => {
      for (const isBiased of [false, true]) {
        await ran({ tile, weightsFirst: true, isBiased, isScaled: isBiased, tokens: 5, topK: 3, cols: 64 });
      }
      expect.hasAssertions();
    });
    test("one factor before all experts", () =>
      ran({ tile, inputScale: 2, isBiased: true, tokens: 5, topK: 3, cols: 64 }));
    test("one token", () => ran({ tokens: 1, tile, rows: 64, cols: 32 }));
    test("a pool in three buffers, one with room to spare", () =>
      ran({ experts: 7, segments: [3, 2, 4], tokens: 6, tile, types: ["Q8_0", "Q8_0"], cols: 64 }));
    test("experts without a slot leave their rows alone", () =>
      ran({ experts: 6, absent: [1, 4], segments: [2, 2], tokens: 9, topK: 3, tile, cols: 64 }));
    test("all tokens to one expert", () =>
      ran({ topK: 1, tokens: 13, tile, cols: 64, chosen: new Array(13).fill(2) }));
    test("an expert chosen twice by a token", () => ran({ tokens: 2, tile, cols: 64, chosen: [3, 3, 0, 3] }));
  });

  test("grouped gives the bits of pair by pair", async () => {
    const shape: Partial<Case> = {
      types: ["Q4_K", "Q6_K"],
      tokens: 11,
      experts: 5,
      segments: [3, 2],
      rows: 64,
    };
    expect(await ran({ ...shape, tile: TILE })).toEqual(await ran(shape));
  });
});
