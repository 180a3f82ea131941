import { at, type Values } from "./dense.ts";

export interface KeyOptions {
  readonly heads: number;
  readonly keys: number;
  /** [2, heads], of the first axis and of the second. */
  readonly mean: Values;
  readonly variance: Values;
  readonly epsilon: number;
  /** Normalised scores from here on are kept, and the best of a row. */
  readonly threshold: number;
}

/** Monet's routing (Park et al. 2024), scores and weights [tokens, 2, heads, keys]. */
export function keyWeights(scores: Values, options: KeyOptions): Float64Array {
  const { heads, keys, mean, variance, epsilon, threshold } = options;
  const out = new Float64Array(scores.length);
  for (let row = 0; row < scores.length / keys; row++) {
    const raw = Array.from({ length: keys }, (_, k) => at(scores, row * keys + k));
    const of = row % (2 * heads);
    const normed = raw.map((s) => (s - at(mean, of)) / Math.sqrt(at(variance, of) + epsilon));
    const least = Math.min(threshold, Math.max(...normed));
    const open = normed.map((s) => s >= least);
    const powers = raw.map((s, k) => (open[k] ? Math.exp(s - Math.max(...raw)) : 0));
    const all = powers.reduce((sum, power) => sum + power, 0);
    out.set(
      powers.map((power) => power / all),
      row * keys,
    );
  }
  return out;
}

/**
 * Over all heads h and pairs of keys (i, j), what multiplies the matrix that key `axis` of the pair has for the units of
 * key `source`: Σ weight[0, h, i] · weight[1, h, j] · hidden[source's key], where `axis` is 0 for i and 1 for j.
 * weights [2, heads, keys], hidden [keys, units] of one token → [keys, units].
 */
export function byKey(
  weights: Values,
  hidden: Values,
  { heads, keys, axis, source }: { heads: number; keys: number; axis: 0 | 1; source: 0 | 1 },
): Float64Array {
  const units = hidden.length / keys;
  const out = new Float64Array(hidden.length);
  for (let h = 0; h < heads; h++) {
    for (let i = 0; i < keys; i++) {
      for (let j = 0; j < keys; j++) {
        const weight = at(weights, h * keys + i) * at(weights, (heads + h) * keys + j);
        const pair = [i, j] as const;
        for (let u = 0; u < units; u++) {
          const to = pair[axis] * units + u;
          out[to] = at(out, to) + weight * at(hidden, pair[source] * units + u);
        }
      }
    }
  }
  return out;
}
