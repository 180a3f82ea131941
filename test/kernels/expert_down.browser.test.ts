import { describe, expect, test } from "vitest";
import { expert_down } from "../../src/kernels/expert_down.ts";
import type { PageMatrix } from "../../src/kernels/matrix.ts";
import type { TensorType } from "../../src/quant/formats.ts";
import { runnableTypes } from "../../src/quant/layout.ts";
import { type ExpertMatrix, expertDown as reference } from "../reference/index.ts";
import { onGpu, poisoned, runSteps, storage, TILE } from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";
import { expectRows, makePool, pairArgs } from "./expert_pool.ts";
import { randomExperts, routeSets } from "./routes.ts";

/** A dot of up to 512 terms in f32. */
const TOLERANCE = 5e-7;

interface Case {
  readonly type: TensorType;
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
}

const plain: Case = {
  type: "F32",
  rows: 100,
  cols: 256,
  experts: 4,
  topK: 2,
  tokens: 3,
  tile: undefined,
  absent: [],
  segments: [4],
  isScaled: false,
  isBiased: false,
};

onGpu("expert_down", (gpu) => {
  async function ran(changed: Partial<Case>): Promise<Float32Array> {
    const { type, rows, cols, experts, topK, tokens, tile, ...rest } = { ...plain, ...changed };
    const random = seeded(rows + cols + tokens);
    const pool = makePool(gpu(), random, { experts, matrices: [{ type, rows, cols }], ...rest });
    const chosen = randomExperts(random, tokens, topK, experts);
    const routes = routeSets(random, topK, chosen, pool.slotOf);
    const isPresent = (pair: number) => !rest.absent.includes(chosen[pair] as number);
    // `expert_gate_up` leaves rows of absent experts alone, so here they may hold anything.
    const hidden = normals(random, chosen.length * cols);
    const input = hidden.map((value, i) => (isPresent(Math.floor(i / cols)) ? value : Number.NaN));
    const out = poisoned(gpu(), "rows", chosen.length * rows);
    const shared = {
      ...pairArgs(gpu(), routes, experts, tile),
      pageBytes: pool.pageBytes,
      down: pool.matrices[0] as PageMatrix,
      hidden: storage(gpu(), "hidden", input),
      rows: out,
    };
    const steps = pool.segments.map((segment) => expert_down(gpu(), { ...shared, segment }));
    await runSteps(gpu(), steps, { tokens });
    const expected = reference(hidden, pool.reference[0] as ExpertMatrix, chosen);
    return expectRows(gpu(), out, expected, rows, isPresent, TOLERANCE);
  }

  describe.each([
    ["pair by pair", undefined],
    ["grouped", TILE],
  ])("%s", (_, tile) => {
    test.each(runnableTypes)("%s", async (type) => {
      await ran({ type, tile });
    });
    test("a scale for each expert", () => ran({ type: "Q4_K", tile, isScaled: true, cols: 512 }));
    test("a bias for each row of an expert", () => ran({ tile, isBiased: true, tokens: 5 }));
    test("a scale and then biases", async () => {
      for (const rows of [1, 65, 192]) {
        await ran({
          type: "MXFP4",
          tile,
          rows,
          isScaled: true,
          isBiased: true,
          experts: 3,
          segments: [2, 1],
        });
      }
      expect.hasAssertions();
    });
    test("one token", () => ran({ tokens: 1, tile, rows: 64, cols: 32 }));
    test("tiles that are full, and one that is not", () =>
      ran({ experts: 2, segments: [2], tokens: 21, tile, type: "Q4_0", cols: 32 }));
    test("a pool in two buffers", () =>
      ran({ experts: 5, segments: [2, 3], tokens: 6, tile, type: "F16", cols: 64 }));
    test("experts without a slot leave their rows alone", () =>
      ran({ experts: 6, absent: [0, 3], segments: [2, 2], tokens: 9, topK: 3, tile, cols: 64 }));
  });

  test("grouped gives the bits of pair by pair", async () => {
    const shape: Partial<Case> = { type: "Q6_K", tokens: 11, experts: 5, segments: [3, 2], rows: 64 };
    expect(await ran({ ...shape, tile: TILE })).toEqual(await ran(shape));
  });
});
