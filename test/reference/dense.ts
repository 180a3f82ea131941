import { type ActivationRule, activate } from "./moe.ts";

/** Numbers in row-major order. All functions of the reference take any array and compute in float64. */
export type Values = ArrayLike<number>;

/** A linear map. `values` is rows × cols, `rows` the output features; `scale` multiplies the product. */
export interface Matrix {
  readonly values: Values;
  readonly rows: number;
  readonly cols: number;
  readonly scale?: number | undefined;
  /** [rows], added after the scale. */
  readonly bias?: Values | undefined;
}

/** Rows `tokens` of the table [vocabulary, cols]: [tokens, cols]. */
export function embed(table: Values, cols: number, tokens: Values): Float64Array {
  const out = new Float64Array(tokens.length * cols);
  for (let t = 0; t < tokens.length; t++) {
    for (let i = 0; i < cols; i++) out[t * cols + i] = at(table, at(tokens, t) * cols + i);
  }
  return out;
}

/** f(gate · p) ⊙ (value · p) of each point p. Both matrices [width, size], points [n, size]: [n, width]. */
export function embedSeries(
  gate: Values,
  value: Values,
  size: number,
  points: Values,
  rule: ActivationRule = {},
): Float64Array {
  const width = gate.length / size;
  return Float64Array.from({ length: (points.length / size) * width }, (_, i) => {
    const [row, start] = [(i % width) * size, Math.floor(i / width) * size];
    const [g, v] = [gate, value].map((matrix) => dot(matrix, row, points, start, size));
    return activate(rule, g as number, v as number);
  });
}

/** x / √(mean(x²) + epsilon) · weight over runs of `weight.length`: whole rows, or heads (q and k norms). */
export function rmsnorm(x: Values, weight: Values, epsilon: number): Float64Array {
  const size = weight.length;
  const out = new Float64Array(x.length);
  for (let row = 0; row < x.length; row += size) {
    const inverse = 1 / Math.sqrt(dot(x, row, x, row, size) / size + epsilon);
    for (let i = 0; i < size; i++) out[row + i] = at(x, row + i) * inverse * at(weight, i);
  }
  return out;
}

/** (x − mean(x)) / √(var(x) + epsilon) · weight over runs of `weight.length`. */
export function layernorm(x: Values, weight: Values, epsilon: number): Float64Array {
  const size = weight.length;
  const centred = Float64Array.from(x);
  for (let row = 0; row < x.length; row += size) {
    const mean = centred.subarray(row, row + size).reduce((sum, value) => sum + value, 0) / size;
    for (let i = 0; i < size; i++) centred[row + i] = at(x, row + i) - mean;
  }
  return rmsnorm(centred, weight, epsilon);
}

/** x·Wᵀ · scale + bias + residual. x [tokens, cols], residual and result [tokens, rows]. */
export function matmul(x: Values, matrix: Matrix, residual?: Values): Float64Array {
  const { values, rows, cols, scale = 1, bias } = matrix;
  const tokens = x.length / cols;
  const out = new Float64Array(tokens * rows);
  for (let t = 0; t < tokens; t++) {
    for (let r = 0; r < rows; r++) {
      const y = dot(values, r * cols, x, t * cols, cols) * scale + (bias ? at(bias, r) : 0);
      out[t * rows + r] = y + (residual ? at(residual, t * rows + r) : 0);
    }
  }
  return out;
}

/** silu(gate) ⊙ up, times the sigmoid of a last column where `gated`. gu [tokens, 2·rows (+ 1)] → [tokens, rows]. */
export function glu(gu: Values, rows: number, gated: boolean): Float64Array {
  const stride = 2 * rows + (gated ? 1 : 0);
  const sigmoid = (z: number) => 1 / (1 + Math.exp(-z));
  const tokens = gu.length / stride;
  return Float64Array.from({ length: tokens * rows }, (_, i) => {
    const start = Math.floor(i / rows) * stride;
    const gate = at(gu, start + (i % rows));
    const whole = gated ? sigmoid(at(gu, start + 2 * rows)) : 1;
    return gate * sigmoid(gate) * at(gu, start + rows + (i % rows)) * whole;
  });
}

/** Σ a[aAt + i] · b[bAt + i] over `count` numbers. */
export function dot(a: Values, aAt: number, b: Values, bAt: number, count: number): number {
  // Two chains of additions: one alone waits for itself at every step.
  let even = 0;
  let odd = 0;
  let i = 0;
  for (; i + 1 < count; i += 2) {
    even += (a[aAt + i] as number) * (b[bAt + i] as number);
    odd += (a[aAt + i + 1] as number) * (b[bAt + i + 1] as number);
  }
  if (i < count) even += (a[aAt + i] as number) * (b[bAt + i] as number);
  return even + odd;
}

/** An element that is there by construction. */
export const at = (values: Values, i: number): number => values[i] as number;
