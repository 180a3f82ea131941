import { softmax } from "./attention.ts";
import { at, dot, type Values } from "./dense.ts";

/**
 * What a chosen expert's output is multiplied by: its softmax probability divided by the sum over the chosen
 * (`renorm`), the probability itself (`raw`), or 1 (`one`).
 */
export type WeightRule = "renorm" | "raw" | "one";

/** The chosen experts of every token, best first. */
export interface Route {
  readonly topK: number;
  /** [tokens, topK] */
  readonly experts: Int32Array;
  /** [tokens, topK] */
  readonly weights: Float64Array;
}

export interface RouteOptions {
  readonly experts: number;
  readonly topK: number;
  readonly weightRule: WeightRule;
  /** [experts], added to the probabilities to choose by. */
  readonly selectionBias?: Values | undefined;
}

/** The top-k of logits [tokens, experts], or of probabilities and a bias; of equal logits the lower expert index wins. */
export function route(logits: Values, options: RouteOptions): Route {
  const { experts, topK, weightRule, selectionBias } = options;
  const tokens = logits.length / experts;
  const result = { topK, experts: new Int32Array(tokens * topK), weights: new Float64Array(tokens * topK) };
  for (let t = 0; t < tokens; t++) {
    const row = Float64Array.from({ length: experts }, (_, e) => at(logits, t * experts + e));
    const probabilities = softmax(row);
    const scores = selectionBias ? probabilities.map((p, e) => p + at(selectionBias, e)) : row;
    const chosen = byDescending(scores).slice(0, topK);
    const sum = chosen.reduce((total, e) => total + at(probabilities, e), 0);
    const weightOf = {
      renorm: (e: number) => at(probabilities, e) / sum,
      raw: (e: number) => at(probabilities, e),
      one: () => 1,
    }[weightRule];
    result.experts.set(chosen, t * topK);
    result.weights.set(chosen.map(weightOf), t * topK);
  }
  return result;
}

/** Indices by falling value; equal values in rising index. */
export function byDescending(values: Values): number[] {
  return Array.from(values, (_, i) => i).sort((a, b) => at(values, b) - at(values, a) || a - b);
}

/** One linear map per expert. `values` is experts × rows × cols. */
export interface ExpertMatrix {
  readonly values: Values;
  readonly rows: number;
  readonly cols: number;
  /** [experts], multiplies an expert's product. */
  readonly scale?: Values | undefined;
}

/**
 * silu(gate·x) ⊙ (up·x) of each chosen expert.
 * x [tokens, cols], experts [tokens, topK] → [tokens, topK, rows].
 */
export function expertGateUp(x: Values, gate: ExpertMatrix, up: ExpertMatrix, experts: Values): Float64Array {
  const topK = (experts.length * gate.cols) / x.length;
  const out = new Float64Array(experts.length * gate.rows);
  for (let c = 0; c < experts.length; c++) {
    const token = Math.floor(c / topK);
    for (let r = 0; r < gate.rows; r++) {
      const g = expertRow(gate, at(experts, c), r, x, token);
      const u = expertRow(up, at(experts, c), r, x, token);
      out[c * gate.rows + r] = (g / (1 + Math.exp(-g))) * u;
    }
  }
  return out;
}

/** down·h of each chosen expert. h [tokens, topK, cols], experts [tokens, topK] → [tokens, topK, rows]. */
export function expertDown(h: Values, down: ExpertMatrix, experts: Values): Float64Array {
  const out = new Float64Array(experts.length * down.rows);
  for (let c = 0; c < experts.length; c++) {
    for (let r = 0; r < down.rows; r++) {
      out[c * down.rows + r] = expertRow(down, at(experts, c), r, h, c);
    }
  }
  return out;
}

function expertRow(matrix: ExpertMatrix, expert: number, row: number, x: Values, xRow: number): number {
  const { values, rows, cols, scale } = matrix;
  return dot(values, (expert * rows + row) * cols, x, xRow * cols, cols) * (scale ? at(scale, expert) : 1);
}

/** residual + Σ weight · row over a token's choices, in order. rows [tokens, topK, cols] → [tokens, cols]. */
export function combine(rows: Values, weights: Values, topK: number, residual?: Values): Float64Array {
  const cols = rows.length / weights.length;
  const out = new Float64Array(rows.length / topK);
  for (let o = 0; o < out.length; o++) {
    const token = Math.floor(o / cols);
    let sum = 0;
    for (let c = token * topK; c < (token + 1) * topK; c++) {
      sum += at(weights, c) * at(rows, c * cols + (o % cols));
    }
    out[o] = sum + (residual ? at(residual, o) : 0);
  }
  return out;
}
