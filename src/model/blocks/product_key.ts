import type { Step } from "../../gpu/program.ts";
import { head_matmul } from "../../kernels/head_matmul.ts";
import { matmul } from "../../kernels/matmul.ts";
import { mixedRow, product_key_mix } from "../../kernels/product_key_mix.ts";
import { product_key_route } from "../../kernels/product_key_route.ts";
import { product_key_sum } from "../../kernels/product_key_sum.ts";
import type { VectorPiece } from "../../kernels/rmsnorm.ts";
import type { Linear, ProductKeyBlock, ProductKeyRouter } from "../plan.ts";
import { addTo, type Build, normalise, project } from "./build.ts";
import type { Mixer } from "./mixer.ts";

/**
 * x += Σ over heads and pairs of keys (i, j) of weight1[i] · weight2[j] · expert[i, j](n), n = norm(x). No pair is ever
 * made: what belongs to a key is weighed by it, and only sums over the others are.
 */
export const productKeyMixer: Mixer<ProductKeyBlock> = {
  linears: ({ router, up, down }) => [...(router?.scores ?? []), ...up, ...down],
  vectors: ({ router, biases }) => [
    ...(router?.statistics ?? []).flatMap(({ mean, variance }) => [mean, variance]),
    ...biases,
  ],
  scratch: (block) => ({
    projected: Math.max(keyWeights(block), rowsOf(block.up), rowsOf(block.down)),
    queries: 0,
    attended: mixedRow(block).row,
  }),
  kept: () => ({}),
  steps(build, block) {
    const { gpu, plan, weights, state, tile, chunk } = build;
    const { heads, keys, units, decompose, router, activation } = block;
    const { normed, projected, attended, keyWeights, fault } = state;
    const shape = { heads, keys, units, decompose };
    const { row } = mixedRow(block);
    const rows = block.down[0]?.weight.shape[0] ?? 0;
    return [
      normalise(build, block.norm),
      ...(router ? route(build, block, router) : []),

      ...matmul(gpu, {
        ...{ matrices: block.up.flatMap((linear) => weights.matrix(linear)), activation },
        ...{ x: normed, y: projected, tile, fault },
      }),
      product_key_mix(gpu, {
        ...{ ...shape, weights: given(keyWeights), hidden: projected, mixed: attended, fault },
        single: chunk === 1,
      }),

      // Each part of what is mixed has a matrix of its own, as if it were a head.
      ...head_matmul(gpu, {
        ...{ matrices: block.down.flatMap((linear) => weights.matrix(linear)), rows, tile, fault },
        x: { buffer: attended, row, each: keys * units },
        y: { buffer: projected, row: rowsOf(block.down), each: rows },
      }),
      ...addTo(build, block.postNorm, (sum) => [
        product_key_sum(gpu, {
          ...{ ...shape, ...sum, cols: plan.width, products: projected, mixed: attended, fault },
          biases: block.biases.map(({ name }) => weights.vector(name)),
        }),
      ]),
    ];
  },
};

/** Leaves the keys' weights for this block and for those behind it that have no router. */
function route(build: Build, { heads, keys }: ProductKeyBlock, router: ProductKeyRouter): Step[] {
  const { gpu, weights, state } = build;
  const { scores, statistics, epsilon, threshold } = router;
  const [first, second] = statistics.map(({ mean, variance }) => ({
    mean: weights.vector(mean.name),
    variance: weights.vector(variance.name),
  })) as [Record<"mean" | "variance", VectorPiece>, Record<"mean" | "variance", VectorPiece>];
  return [
    ...project(build, scores),
    product_key_route(gpu, {
      ...{ heads, keys, statistics: [first, second], epsilon, least: threshold },
      ...{ scores: state.projected, weights: given(state.keyWeights), fault: state.fault },
    }),
  ];
}

/** Floats a token has of them. */
export function keyWeights({ heads, keys }: ProductKeyBlock): number {
  return 2 * heads * keys;
}

function given(buffer: GPUBuffer | undefined): GPUBuffer {
  if (!buffer) throw new Error("no room for the weights of keys");
  return buffer;
}

function rowsOf(linears: readonly Linear[]): number {
  return linears.reduce((sum, { weight }) => sum + (weight.shape[0] ?? 0), 0);
}
