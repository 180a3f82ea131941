import { softmax } from "./attention.ts";
import { at, type Values } from "./dense.ts";

export interface TreeOptions {
  readonly experts: number;
  readonly trees: number;
  readonly gamma: number;
  /** [trees, leaves, experts] */
  readonly permutations?: Values | undefined;
}

/**
 * COMET's gate (Ibrahim et al. 2023), from the root down. inner [tokens, trees, experts − 1], leaf [tokens, trees, experts]
 * → weights [tokens, experts].
 */
export function treeGate(inner: Values, leaf: Values, options: TreeOptions): Float64Array {
  const { experts, trees, permutations } = options;
  const tokens = leaf.length / (trees * experts);
  const out = new Float64Array(tokens * experts);
  for (let t = 0; t < tokens; t++) {
    const scores = Array.from({ length: trees }, (_, i) => {
      const tree = t * trees + i;
      const node = (n: number) => smoothStep(at(inner, tree * (experts - 1) + n), options.gamma);
      return leavesBelow(0, 1, experts, node).map(
        (probability, j) => at(leaf, tree * experts + j) + Math.log(probability),
      );
    });
    softmax(scores.flat()).forEach((share, ij) => {
      for (let e = 0; e < experts; e++) {
        const part = permutations ? at(permutations, ij * experts + e) : Number(ij % experts === e);
        out[t * experts + e] = at(out, t * experts + e) + part * share;
      }
    });
  }
  return out;
}

/** Probabilities of the leaves below a node, from left to right. */
function leavesBelow(n: number, reached: number, experts: number, left: (n: number) => number): number[] {
  if (n >= experts - 1) return [reached];
  const q = left(n);
  return [
    ...leavesBelow(2 * n + 1, reached * q, experts, left),
    ...leavesBelow(2 * n + 2, reached * (1 - q), experts, left),
  ];
}

function smoothStep(t: number, gamma: number): number {
  if (t <= -gamma / 2) return 0;
  if (t >= gamma / 2) return 1;
  return (-2 * t ** 3) / gamma ** 3 + (3 * t) / (2 * gamma) + 0.5;
}
