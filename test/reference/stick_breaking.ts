import { at, dot, type Values } from "./dense.ts";

export interface StickBreakingOptions {
  /** Queries of a token, each of all heads. */
  readonly choices: number;
  readonly heads: number;
  /** Position of each token; key j has position j. A query sees the keys up to its own position. */
  readonly positions: Values;
  readonly scale: number;
}

const logSigmoid = (z: number): number => Math.min(z, 0) - Math.log1p(Math.exp(-Math.abs(z)));

/**
 * ModuleFormer's attention: weight(i, j) = σ(l_ij) · Π_{j < m ≤ i} σ(−l_im), as a sum of logarithms.
 * q [tokens, choices, heads, dim], k and v [keys, heads, dim] → [tokens, choices, heads, dim].
 */
export function stickBreakingAttention(
  q: Values,
  k: Values,
  v: Values,
  { choices, heads, positions, scale }: StickBreakingOptions,
): Float64Array {
  const rows = positions.length * choices * heads;
  const dim = q.length / rows;
  const out = new Float64Array(q.length);
  for (let row = 0; row < rows; row++) {
    const own = at(positions, Math.floor(row / heads / choices));
    const keyRow = (j: number) => (j * heads + (row % heads)) * dim;
    const logits = Array.from({ length: own + 1 }, (_, j) => dot(q, row * dim, k, keyRow(j), dim) * scale);
    for (let j = 0; j <= own; j++) {
      let log = logSigmoid(at(logits, j));
      for (let m = j + 1; m <= own; m++) log += logSigmoid(-at(logits, m));
      for (let i = 0; i < dim; i++) {
        out[row * dim + i] = at(out, row * dim + i) + Math.exp(log) * at(v, keyRow(j) + i);
      }
    }
  }
  return out;
}

export interface CosineGateOptions {
  readonly experts: number;
  readonly factor: number;
  readonly temperature?: number | undefined;
  readonly most?: number | undefined;
  readonly least: number;
}

/** X-MoE: factor · e^temperature · cos(z, centroid). z [tokens, dim], centroids [experts, dim] → [tokens, experts]. */
export function cosineGate(z: Values, centroids: Values, options: CosineGateOptions): Float64Array {
  const { experts, factor, temperature = 0, most = Number.POSITIVE_INFINITY, least } = options;
  const dim = centroids.length / experts;
  const unit = (x: Values, row: number) => {
    const length = Math.max(Math.sqrt(dot(x, row * dim, x, row * dim, dim)), least);
    return Float64Array.from({ length: dim }, (_, i) => at(x, row * dim + i) / length);
  };
  return Float64Array.from({ length: (z.length / dim) * experts }, (_, i) => {
    const cosine = dot(unit(z, Math.floor(i / experts)), 0, unit(centroids, i % experts), 0, dim);
    return factor * Math.exp(Math.min(temperature, most)) * cosine;
  });
}
