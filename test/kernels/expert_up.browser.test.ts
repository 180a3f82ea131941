import { describe, expect, test } from "vitest";
import type { Pointwise } from "../../src/kernels/activation.ts";
import { expert_up } from "../../src/kernels/expert_up.ts";
import type { PageMatrix } from "../../src/kernels/matrix.ts";
import type { TensorType } from "../../src/quant/formats.ts";
import { type ExpertMatrix, expertUp as reference } from "../reference/index.ts";
import { onGpu, poisoned, runSteps, storage, TILE } from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";
import { expectRows, makePool, pairArgs } from "./expert_pool.ts";
import { randomExperts, routeSets } from "./routes.ts";

/** A dot of up to 512 terms in f32, and WGSL's exp. */
const TOLERANCE = 1e-6;

const plain = {
  type: "F32" as TensorType,
  rows: 100,
  cols: 64,
  experts: 4,
  topK: 2,
  tokens: 3,
  /** Absent: pairs are not grouped. */
  tile: undefined as number | undefined,
  absent: [] as readonly number[],
  segments: [4] as readonly number[],
  isScaled: false,
  isBiased: false,
  activation: "relu" as Pointwise,
  weightsFirst: false,
};

onGpu("expert_up", (gpu) => {
  async function ran(changed: Partial<typeof plain>): Promise<Float32Array> {
    const { type, rows, cols, experts, topK, tokens, tile, ...rest } = { ...plain, ...changed };
    const random = seeded(rows + cols + tokens);
    const pool = makePool(gpu(), random, { experts, matrices: [{ type, rows, cols }], ...rest });
    const chosen = randomExperts(random, tokens, topK, experts);
    const routes = routeSets(random, topK, chosen, pool.slotOf);
    const x = normals(random, tokens * cols, 0.3);
    const hidden = poisoned(gpu(), "hidden", chosen.length * rows);
    const { activation, weightsFirst } = rest;
    const shared = {
      ...pairArgs(gpu(), routes, experts, tile),
      ...{ pageBytes: pool.pageBytes, up: pool.matrices[0] as PageMatrix, activation, weightsFirst },
      ...{ x: storage(gpu(), "x", x), hidden },
    };
    const steps = pool.segments.map((segment) => expert_up(gpu(), { ...shared, segment }));
    await runSteps(gpu(), steps, { tokens });
    const weights = weightsFirst ? routes.weights : undefined;
    const expected = reference(x, pool.reference[0] as ExpertMatrix, chosen, { activation, weights });
    const isPresent = (pair: number) => !rest.absent.includes(chosen[pair] as number);
    return expectRows(gpu(), hidden, expected, rows, isPresent, TOLERANCE);
  }

  describe.each([
    ["pair by pair", undefined],
    ["grouped", TILE],
  ])("%s", (_, tile) => {
    test.each<Pointwise>(["relu", "gelu", "gelu-erf", "silu", "tanh"])("%s", async (activation) => {
      await ran({ activation, tile, isBiased: true });
    });
    test.each<TensorType>(["Q8_0", "Q4_K", "BF16"])("%s", async (type) => {
      await ran({ type, tile, cols: 256 });
    });
    test("scales, biases, weights before the expert", async () => {
      await ran({ tile, isScaled: true, isBiased: true, weightsFirst: true, tokens: 5, topK: 3 });
    });
    test("rows that fill no lane, one lane, just two", async () => {
      for (const rows of [1, 64, 65, 128, 129]) await ran({ tile, rows });
      expect.hasAssertions();
    });
    test("a pool in three buffers; experts without a slot leave their rows alone", async () => {
      await ran({ experts: 7, segments: [3, 2, 4], tokens: 6, tile });
      await ran({ experts: 6, absent: [1, 4], segments: [2, 2], tokens: 9, topK: 3, tile });
    });
    test("one token", () => ran({ tokens: 1, tile, cols: 32 }));
  });

  test("grouped gives the bits of pair by pair", async () => {
    const shape = { tokens: 11, experts: 5, segments: [3, 2] };
    expect(await ran({ ...shape, tile: TILE })).toEqual(await ran(shape));
  });
});
