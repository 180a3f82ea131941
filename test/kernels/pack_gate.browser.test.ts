import { expect, test } from "vitest";
import type { MatrixPiece } from "../../src/kernels/matrix.ts";
import { gateBytes, pack_gate } from "../../src/kernels/pack_gate.ts";
import type { TensorType } from "../../src/quant/formats.ts";
import { downloadWords, onGpu, runSteps, storage } from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";
import { WeightPage } from "../support/weight_page.ts";
import { HALF_TOLERANCE, rowsOf } from "./gates.ts";

interface Router {
  readonly type: TensorType;
  /** Experts in each piece. */
  readonly split: readonly number[];
  readonly scale?: number;
  /** No norm stands before it. */
  readonly bare?: boolean;
}

onGpu("pack_gate", (gpu) => {
  /** Packs one router a site into one buffer and checks every half of it. */
  async function packed(routers: readonly Router[], cols: number, experts: number) {
    const random = seeded(cols + experts);
    const gates = storage(gpu(), "gates", new Uint8Array(routers.length * gateBytes(experts, cols) + 64));
    const expected = new Float64Array(routers.length * experts * cols);
    const steps = routers.flatMap(({ type, split, scale, bare = false }, site) => {
      const weights = normals(random, cols);
      const normPage = new WeightPage(random);
      const base = normPage.floats(weights);
      const norm = bare
        ? undefined
        : { buffer: storage(gpu(), "norm", normPage.bytes()), base, length: cols };
      let row = site * experts;
      const router = split.map((rows, i): MatrixPiece => {
        const page = new WeightPage(random);
        const placed = page.matrix(type, rows, cols);
        const scaled = scale !== undefined && i === 0;
        const factor = scaled ? { scale: page.floats(Float32Array.of(scale)) } : {};
        for (let at = 0; at < rows * cols; at++) {
          const value = (placed.values[at] as number) * (bare ? 1 : (weights[at % cols] as number));
          expected[row * cols + at] = value * (scaled ? Math.fround(scale) : 1);
        }
        row += rows;
        const buffer = storage(gpu(), `router ${site}.${i}`, page.bytes());
        return { buffer, type, base: placed.base, rows, cols, ...factor };
      });
      return pack_gate(gpu(), { router, norm, gates, site, experts });
    });
    await runSteps(gpu(), steps.toReversed(), {});
    const words = await downloadWords(gpu(), gates);
    const found = rowsOf(words.subarray(0, expected.length / 2), experts, cols);
    expect(Array.from(words.subarray(expected.length / 2))).toEqual(new Array(16).fill(0));
    const wrong = found.findIndex((value, i) => {
      const exact = Math.min(Math.max(expected[i] as number, -65504), 65504);
      // Rounding need not be to the nearest. Below 2⁻¹⁴ the units of f16 stop shrinking.
      return !(Math.abs(value - exact) <= Math.max(2 * HALF_TOLERANCE * Math.abs(exact), 2 ** -24));
    });
    expect(wrong, `${found[wrong]} for ${expected[wrong]}`).toBe(-1);
    return found;
  }

  test.each<TensorType>(["F32", "F16", "Q8_0"])("%s, several sites", async (type) => {
    const router: Router = { type, split: [12] };
    await packed([router, router, router], 256, 12);
  });
  test("routers without a norm before them", async () => {
    const router: Router = { type: "F32", split: [5, 9], scale: 2, bare: true };
    await packed([router, { ...router, type: "Q8_0" }], 64, 14);
  });
  test("more experts than lanes", () => packed([{ type: "F32", split: [75] }], 64, 75));
  test("sites whose gates start where no binding may", async () => {
    const router: Router = { type: "Q8_0", split: [3] };
    await packed([router, router, router, router], 96, 3);
  });
  test("pieces, one with a scale", () => packed([{ type: "Q8_0", split: [5, 9], scale: -3.5 }], 64, 14));
  test("a site with fewer experts than others leaves the rest zero", async () => {
    const found = await packed(
      [
        { type: "F32", split: [4] },
        { type: "F32", split: [6] },
      ],
      32,
      6,
    );
    expect(Array.from(found.subarray(4 * 32, 6 * 32))).toEqual(new Array(64).fill(0));
  });
  test("values past f16 are the largest it holds", async () => {
    const found = await packed([{ type: "F32", split: [4], scale: 1e9 }], 32, 4);
    expect(found.filter((value) => Math.abs(value) === 65504).length).toBeGreaterThan(100);
  });
});
