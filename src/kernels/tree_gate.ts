import isNumber from "../../shaders/lib/is_number.wgsl?raw";
import source from "../../shaders/tree_gate.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import type { VectorPiece } from "./rmsnorm.ts";
import { makeStep, reduction, type Stoppable } from "./step.ts";

export interface TreeGateArgs extends Stoppable {
  /** Leaves of each tree, two at least. trees · experts ≤ 4096, since a workgroup holds them. */
  readonly experts: number;
  readonly trees: number;
  /** How wide the smooth step is. */
  readonly gamma: number;
  /** [trees, experts, experts]: how much of a leaf is an expert's; absent: leaf j is expert j's. */
  readonly permutations?: VectorPiece | undefined;
  /** [tokens, trees · (experts − 1) + trees · experts] f32: of inner nodes, then of leaves, tree by tree */
  readonly products: GPUBuffer;
  /** [tokens, experts] f32: their sum is 1, most are 0 */
  readonly weights: GPUBuffer;
}

/** Experts' weights by trees of smooth steps (COMET, Ibrahim et al. 2023). */
export function tree_gate(gpu: Gpu, args: TreeGateArgs): Step {
  const { experts, trees, gamma, permutations, products, weights, fault } = args;
  const { lanes, snippet, enable } = reduction(gpu, 32);
  const depth = Math.ceil(Math.log2(experts));
  return makeStep(gpu, {
    label: "tree_gate",
    source,
    enable,
    constants: {
      ...{ LANES: lanes, SHARED: 1, EXPERTS: experts, TREES: trees, GAMMA: { f32: gamma } },
      // Leaves of the deepest level, and the first node of it.
      ...{ DEEPEST: 2 * (experts - 2 ** (depth - 1)), FIRST_DEEPEST: 2 ** depth - 1 },
      ...{ PERMUTED: permutations !== undefined, P_BASE: permutations?.base ?? 0 },
    },
    snippets: [snippet, isNumber],
    buffers: { products, weights, permutations: permutations?.buffer ?? products },
    fault,
    grid: (tokens) => [1, tokens],
  });
}
