import { expect, test } from "vitest";
import { tree_gate } from "../../src/kernels/tree_gate.ts";
import { type TreeOptions, treeGate } from "../reference/tree_gate.ts";
import { expectClose, onGpu, outputFloats, poisoned, runSteps, storage } from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";

/** Exponentials of sums. */
const TOLERANCE = 1e-6;

interface Case extends TreeOptions {
  readonly tokens: number;
  /** Of the inner nodes' products, beside a step of width gamma. */
  readonly scale: number;
  readonly change?: (products: Float32Array) => void;
}

/** Row j of tree i says which expert its leaf is. */
function rotations(trees: number, experts: number): Float32Array<ArrayBuffer> {
  const values = new Float32Array(trees * experts * experts);
  for (let i = 0; i < trees; i++) {
    for (let j = 0; j < experts; j++) values[(i * experts + j) * experts + ((j + i + 1) % experts)] = 1;
  }
  return values;
}

onGpu(
  "tree_gate",
  (gpu) => {
    async function gated({ experts, trees, gamma, permutations, tokens, scale, change }: Case) {
      const random = seeded(experts + trees);
      const [innerEach, leafEach] = [trees * (experts - 1), trees * experts];
      const rows = Array.from({ length: tokens }, () => [
        normals(random, innerEach, scale),
        normals(random, leafEach, 2),
      ]);
      const products = Float32Array.from(rows.flatMap((row) => row.flatMap((part) => [...part])));
      change?.(products);
      const each = innerEach + leafEach;
      const part = (first: number, count: number) =>
        Array.from({ length: tokens }, (_, t) => [
          ...products.subarray(t * each + first, t * each + first + count),
        ]).flat();
      const weights = poisoned(gpu(), "weights", tokens * experts);
      // Parts of pages end at whole vectors.
      const padded = new Float32Array(4 * Math.ceil((permutations?.length ?? 0) / 4));
      padded.set(permutations ?? []);
      const page = permutations && {
        ...{ buffer: storage(gpu(), "page", padded), base: 0, length: permutations.length },
      };
      const step = tree_gate(gpu(), {
        ...{ experts, trees, gamma, permutations: page, weights },
        products: storage(gpu(), "products", products),
      });
      await runSteps(gpu(), [step], { tokens });
      const output = await outputFloats(gpu(), weights, tokens * experts);
      const expected = treeGate(part(0, innerEach), part(innerEach, leafEach), {
        ...{ experts, trees, gamma, permutations },
      });
      const counts = Array.from(
        { length: tokens },
        (_, t) => output.subarray(t * experts, (t + 1) * experts).filter((w) => w > 0).length,
      );
      return { output, expected, counts };
    }

    test.each<Case>([
      { experts: 8, trees: 2, gamma: 1, tokens: 5, scale: 0.5 },
      { experts: 2, trees: 1, gamma: 1, tokens: 1, scale: 0.2 },
      { experts: 6, trees: 3, gamma: 2, tokens: 513, scale: 1 },
      { experts: 100, trees: 4, gamma: 0.5, tokens: 3, scale: 0.3 },
      { experts: 7, trees: 2, gamma: 1, tokens: 4, scale: 0.5, permutations: rotations(2, 7) },
    ])("$experts experts, $trees trees of step $gamma, $tokens tokens", async (shape) => {
      const { output, expected } = await gated(shape);
      expectClose(output, expected, TOLERANCE);
      // Out of reach is exactly 0.
      expect([...output].map((w) => w > 0)).toEqual([...expected].map((w) => w > 0));
    });

    test("all nodes undecided: all experts; all decided: one of each tree; at the edges of the step too", async () => {
      const shape = { experts: 8, trees: 2, gamma: 1, tokens: 3, scale: 0.05 };
      expect((await gated(shape)).counts).toEqual([8, 8, 8]);
      const edges = await gated({
        ...shape,
        change: (products) => {
          for (let t = 0; t < 3; t++) {
            // Both trees go right at the root; one is then at leaf 4, the other at leaf 7.
            products.set([-0.5, 0, 0.5, 9, 9, 0.5, 9], t * 30);
            products.set([-3, 9, -3, 9, 9, 9, -0.5], t * 30 + 7);
          }
        },
      });
      expectClose(edges.output, edges.expected, TOLERANCE);
      expect([...edges.output].flatMap((w, i) => (w > 0 ? [i % 8] : []))).toEqual([4, 7, 4, 7, 4, 7]);
      const one = await gated({ ...shape, trees: 1, scale: 100 });
      expect(one.counts).toEqual([1, 1, 1]);
      expect([...one.output].filter((w) => w > 0)).toEqual([1, 1, 1]);
    });

    test("leaves as good as each other share; leaves far apart, the best barely in reach", async () => {
      const shape = { experts: 4, trees: 1, gamma: 1, tokens: 1, scale: 0 };
      const equal = await gated({ ...shape, change: (products) => products.set([0, 0, 0, 2, 2, 2, 2]) });
      expect([...equal.output]).toEqual([0.25, 0.25, 0.25, 0.25]);
      const far = await gated({
        ...shape,
        change: (products) => products.set([-0.499, -0.499, 0, 200, 1, -200, -150]),
      });
      expectClose(far.output, far.expected, TOLERANCE);
    });

    test("a product that is no number is told by every weight", async () => {
      for (const i of [1, 5]) {
        const { output } = await gated({
          ...{ experts: 4, trees: 1, gamma: 1, tokens: 2, scale: 0.3 },
          change: (products) => products.set([Number.NaN], i),
        });
        expect([...output].map(Number.isFinite)).toEqual([...Array(4).fill(false), ...Array(4).fill(true)]);
      }
    });
  },
  true,
);
