import { softmax } from "./attention.ts";
import { at, dot, type Values } from "./dense.ts";
import { normalBelow } from "./normal.ts";

/**
 * What a chosen expert's output is multiplied by: its score divided by the sum over the chosen (`renorm`), the score
 * itself (`raw`), 1 (`one`), or the number of experts over that of the chosen (`one-over-share`).
 */
export type WeightRule = "renorm" | "raw" | "one" | "one-over-share";

/** An expert's score: its softmax probability, 1 / (1 + e^-l), √ln(1 + e^l), l where it is above 0. */
export type GateRule = "softmax" | "sigmoid" | "sqrt-softplus" | "relu";

/** The chosen experts of every token, best first. */
export interface Route {
  readonly topK: number;
  /** [tokens, topK]; −1 behind a token's count */
  readonly experts: Int32Array;
  /** [tokens, topK]; 0 behind a token's count */
  readonly weights: Float64Array;
  /** [tokens] */
  readonly counts: Int32Array;
}

export interface RouteOptions {
  readonly experts: number;
  readonly topK: number;
  /** How many of the `topK` rows are used at most. */
  readonly k?: number | undefined;
  /** Of the best, those until the sum of scores is above p, the one that crosses it included. From 1 on, all. */
  readonly p?: number | undefined;
  /** Of those the ones with a score of so much or more. */
  readonly threshold?: number | undefined;
  /** Divides the logits where scores are made of them. */
  readonly temperature?: number | undefined;
  /** Logits become f(l) + bias first. */
  readonly shape?:
    | { readonly function: (l: number) => number; readonly bias?: Values | undefined }
    | undefined;
  readonly weightRule: WeightRule;
  /** Softmax unless told. */
  readonly gate?: GateRule | undefined;
  /** Only experts of the best `used` of `count` groups are chosen; a group is as good as its best one or two. */
  readonly groups?:
    | { readonly count: number; readonly used: number; readonly by: "best" | "best-two" }
    | undefined;
  /** [experts], added to the scores to choose by. */
  readonly selectionBias?: Values | undefined;
  /** Logits are divided by their standard deviation (n − 1) over this, before all else, unless they are equal. */
  readonly deviation?: number | undefined;
  /** Of those chosen, the score of these counts as 0. */
  readonly dropped?: readonly number[] | undefined;
}

/** Sums of scores that are no probabilities count as this much at least where they divide. */
const LEAST_SUM = 2 ** -14;

/** The top-k of logits [tokens, experts], or of scores and a bias; of equals the lower expert index wins. */
export function route(logits: Values, options: RouteOptions): Route {
  const { experts, topK, weightRule, gate = "softmax", groups, selectionBias } = options;
  const { shape, temperature = 1, k = topK } = options;
  const tokens = logits.length / experts;
  const result = {
    topK,
    experts: new Int32Array(tokens * topK).fill(-1),
    weights: new Float64Array(tokens * topK),
    counts: new Int32Array(tokens),
  };
  for (let t = 0; t < tokens; t++) {
    const own = Float64Array.from({ length: experts }, (_, e) => {
      const l = at(logits, t * experts + e);
      return shape ? shape.function(l) + (shape.bias ? at(shape.bias, e) : 0) : l;
    });
    const row = options.deviation === undefined ? own : withDeviation(own, options.deviation);
    const scores = gateScores[gate](row.map((l) => l / temperature));
    const biased = selectionBias ? scores.map((p, e) => p + at(selectionBias, e)) : scores;
    const ranked = byDescending(selectionBias || groups ? biased : row);
    const open = groups ? openGroups(biased, groups) : [];
    const isOpen = (e: number) => !groups || open.includes(Math.floor((e * groups.count) / experts));
    const chosen = kept(ranked.filter(isOpen).slice(0, k), scores, options);
    for (const e of options.dropped ?? []) scores[e] = 0;
    const sum = chosen.reduce((total, e) => total + at(scores, e), 0);
    const divisor = gate === "softmax" ? sum : Math.max(sum, LEAST_SUM);
    const weightOf = {
      renorm: (e: number) => (at(scores, e) === 0 ? 0 : at(scores, e) / divisor),
      raw: (e: number) => at(scores, e),
      one: () => 1,
      "one-over-share": () => experts / chosen.length,
    }[weightRule];
    result.counts[t] = chosen.length;
    result.experts.set(chosen, t * topK);
    result.weights.set(chosen.map(weightOf), t * topK);
  }
  return result;
}

function withDeviation(row: Float64Array, target: number): Float64Array {
  const mean = row.reduce((sum, l) => sum + l, 0) / row.length;
  const deviation = Math.sqrt(row.reduce((sum, l) => sum + (l - mean) ** 2, 0) / (row.length - 1));
  return deviation > 0 ? row.map((l) => l / (deviation / target)) : row;
}

/** Which of the best experts are chosen. */
function kept(best: readonly number[], scores: Float64Array, options: RouteOptions): number[] {
  const { p = 1, threshold = 0 } = options;
  const chosen: number[] = [];
  let sum = 0;
  for (const e of best) {
    if (p < 1 && sum > p) break;
    if (at(scores, e) < threshold) continue;
    chosen.push(e);
    sum += at(scores, e);
  }
  return chosen;
}

const sigmoid = (z: number): number => 1 / (1 + Math.exp(-z));

const gateScores: Record<GateRule, (row: Float64Array) => Float64Array> = {
  softmax,
  sigmoid: (row) => row.map(sigmoid),
  relu: (row) => row.map((l) => Math.max(l, 0)),
  "sqrt-softplus": (row) => row.map((l) => Math.sqrt(Math.max(l, 0) + Math.log1p(Math.exp(-Math.abs(l))))),
};

/** The best groups of a token, best first. */
function openGroups(
  scores: Float64Array,
  { count, used, by }: NonNullable<RouteOptions["groups"]>,
): number[] {
  const size = scores.length / count;
  const sums = Array.from({ length: count }, (_, g) => {
    const best = scores
      .slice(g * size, (g + 1) * size)
      .sort()
      .reverse();
    return best.slice(0, by === "best" ? 1 : 2).reduce((sum, score) => sum + score, 0);
  });
  return byDescending(sums).slice(0, used);
}

/** Indices by falling value; equal values in rising index. */
export function byDescending(values: Values): number[] {
  return Array.from(values, (_, i) => i).sort((a, b) => at(values, b) - at(values, a) || a - b);
}

/** p · a + (1 − p) · b of each token, p the first of softmax(z). z [tokens, 2], a, b and result [tokens, cols]. */
export function residualMix(z: Values, a: Values, b: Values): Float64Array {
  const cols = (2 * a.length) / z.length;
  return Float64Array.from({ length: a.length }, (_, i) => {
    const t = Math.floor(i / cols);
    const [p, q] = softmax(Float64Array.of(at(z, 2 * t), at(z, 2 * t + 1)));
    return (p as number) * at(a, i) + (q as number) * at(b, i);
  });
}

/** One linear map per expert. `values` is experts × rows × cols. */
export interface ExpertMatrix {
  readonly values: Values;
  readonly rows: number;
  readonly cols: number;
  /** [experts], multiplies an expert's product. */
  readonly scale?: Values | undefined;
  /** [experts, rows], added after the scale. */
  readonly bias?: Values | undefined;
}

/** A gated linear unit's function of gate and up, with what it takes besides. */
export interface ActivationRule {
  readonly activation?:
    | "silu"
    | "gelu"
    | "gelu-erf"
    | "relu"
    | "relu-squared"
    | "sigmoid"
    | "tanh"
    | "linear"
    | "swiglu-oai"
    | undefined;
  readonly limit?: number | undefined;
  readonly alpha?: number | undefined;
}

/** f(gate) · up, or for those that clamp what the paper or the published code says. */
export function activate(rule: ActivationRule, gate: number, up: number): number {
  const { activation = "silu", limit = 7, alpha = 1.702 } = rule;
  const clamped = Math.min(Math.max(up, -limit), limit);
  const low = Math.min(gate, limit);
  switch (activation) {
    case "silu":
      return gate * sigmoid(gate) * up;
    case "gelu":
      return 0.5 * gate * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (gate + 0.044715 * gate ** 3))) * up;
    case "gelu-erf":
      return gate * normalBelow(gate) * up;
    case "sigmoid":
      return sigmoid(gate) * up;
    case "linear":
      return gate * up;
    case "tanh":
      return Math.tanh(gate) * up;
    case "relu":
      return Math.max(gate, 0) * up;
    case "relu-squared":
      return Math.max(gate, 0) ** 2 * up;
    case "swiglu-oai":
      return low * sigmoid(alpha * low) * (clamped + 1);
  }
}

/**
 * silu(gate·x) ⊙ (up·x) of each chosen expert, or another activation; x times the route's weight where there are
 * `weights` [tokens, topK]. x [tokens, cols], experts [tokens, topK] → [tokens, topK, rows].
 */
export function expertGateUp(
  x: Values,
  gate: ExpertMatrix,
  up: ExpertMatrix,
  experts: Values,
  rule: ActivationRule & { readonly weights?: Values | undefined } = {},
): Float64Array {
  const topK = (experts.length * gate.cols) / x.length;
  const out = new Float64Array(experts.length * gate.rows);
  for (let c = 0; c < experts.length; c++) {
    const token = Math.floor(c / topK);
    const weight = rule.weights ? at(rule.weights, c) : 1;
    for (let r = 0; r < gate.rows; r++) {
      const g = expertRow(gate, at(experts, c), r, x, token, weight);
      const u = expertRow(up, at(experts, c), r, x, token, weight);
      out[c * gate.rows + r] = activate(rule, g, u);
    }
  }
  return out;
}

/** f(up·x) of each chosen expert of two matrices, f by the rule. As `expertGateUp`. */
export function expertUp(
  x: Values,
  up: ExpertMatrix,
  experts: Values,
  rule: ActivationRule & { readonly weights?: Values | undefined } = {},
): Float64Array {
  const topK = (experts.length * up.cols) / x.length;
  return Float64Array.from({ length: experts.length * up.rows }, (_, i) => {
    const c = Math.floor(i / up.rows);
    const weight = rule.weights ? at(rule.weights, c) : 1;
    return activate(rule, expertRow(up, at(experts, c), i % up.rows, x, Math.floor(c / topK), weight), 1);
  });
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

/** (W (weight · x)) · scale + bias */
function expertRow(
  matrix: ExpertMatrix,
  expert: number,
  row: number,
  x: Values,
  xRow: number,
  weight = 1,
): number {
  const { values, rows, cols, scale, bias } = matrix;
  const product = weight * dot(values, (expert * rows + row) * cols, x, xRow * cols, cols);
  return product * (scale ? at(scale, expert) : 1) + (bias ? at(bias, expert * rows + row) : 0);
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
