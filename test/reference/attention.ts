import { at, dot, type Values } from "./dense.ts";

/** How positions become rotations: plain data, whatever scaling it came from. */
export interface RopeTable {
  /** Radians per position of each rotated pair, [dims / 2]. */
  readonly frequencies: Values;
  /** Multiplies cosine and sine (YaRN's mscale); 1 without scaling. */
  readonly magnitude: number;
}

export interface RopeScaling {
  readonly type: "linear" | "yarn";
  readonly factor: number;
  /** The rest is YaRN's (Peng et al. 2023, arXiv 2309.00071), with the defaults of llama.cpp. */
  readonly originalContext?: number;
  readonly betaFast?: number;
  readonly betaSlow?: number;
  readonly extFactor?: number;
  readonly attnFactor?: number;
}

export interface RopeTableOptions {
  readonly base: number;
  /** Rotated dimensions of a head, even. */
  readonly dims: number;
  /** Divides each frequency, [dims / 2]: the tensor `rope_freqs` of a file. */
  readonly factors?: Values;
  readonly scaling?: RopeScaling | undefined;
}

export function ropeTable({ base, dims, factors, scaling }: RopeTableOptions): RopeTable {
  const original = Float64Array.from({ length: dims / 2 }, (_, i) => {
    return base ** ((-2 * i) / dims) / (factors ? at(factors, i) : 1);
  });
  if (scaling === undefined) return { frequencies: original, magnitude: 1 };
  const { factor, extFactor = 1, attnFactor = 1, betaFast = 32, betaSlow = 1 } = scaling;
  if (scaling.type === "linear") {
    return { frequencies: original.map((frequency) => frequency / factor), magnitude: attnFactor };
  }
  const context = scaling.originalContext ?? Number.NaN;
  /** The pair that turns `turns` times over the original context. */
  const pairOf = (turns: number) => (dims * Math.log(context / (turns * 2 * Math.PI))) / (2 * Math.log(base));
  const low = Math.max(0, Math.floor(pairOf(betaFast)));
  const high = Math.min(dims - 1, Math.ceil(pairOf(betaSlow)));
  const frequencies = original.map((frequency, i) => {
    const ramp = Math.min(1, Math.max(0, (i - low) / Math.max(0.001, high - low)));
    const kept = (1 - ramp) * extFactor;
    return (frequency / factor) * (1 - kept) + frequency * kept;
  });
  return { frequencies, magnitude: attnFactor * (extFactor === 0 ? 1 : 1 + 0.1 * Math.log(factor)) };
}

export interface RopeOptions extends RopeTable {
  readonly heads: number;
  /** Position of each token. */
  readonly positions: Values;
  /** Which dimensions turn together: i and i + dims/2 (`neox`), or 2i and 2i + 1 (`normal`). */
  readonly variant: "neox" | "normal";
}

/** Rotates the first 2·frequencies.length dimensions of every head of x [tokens, heads, headDim]. */
export function rope(x: Values, options: RopeOptions): Float64Array {
  const { frequencies, magnitude, heads, positions, variant } = options;
  const pairs = frequencies.length;
  const headDim = x.length / (positions.length * heads);
  const out = Float64Array.from(x);
  for (let t = 0; t < positions.length; t++) {
    for (let pair = 0; pair < pairs; pair++) {
      const angle = at(positions, t) * at(frequencies, pair);
      const cos = Math.cos(angle) * magnitude;
      const sin = Math.sin(angle) * magnitude;
      for (let head = 0; head < heads; head++) {
        const start = (t * heads + head) * headDim;
        const a = start + (variant === "neox" ? pair : 2 * pair);
        const b = variant === "neox" ? a + pairs : a + 1;
        out[a] = at(x, a) * cos - at(x, b) * sin;
        out[b] = at(x, a) * sin + at(x, b) * cos;
      }
    }
  }
  return out;
}

export interface TemperatureOptions {
  readonly scale: number;
  readonly length: number;
  readonly offset: number;
}

/** What a query at this position is multiplied with: 1 + scale · ln(⌊(position + offset) / length⌋ + 1). */
export function attentionTemperature(position: number, options: TemperatureOptions): number {
  const { scale, length, offset } = options;
  return 1 + scale * Math.log(Math.floor((position + offset) / length) + 1);
}

export interface AttentionOptions {
  readonly heads: number;
  /** Key and value heads; query head h reads key head ⌊h · kvHeads / heads⌋. */
  readonly kvHeads: number;
  /** Position of each query; key j has position j. A query sees the keys up to its own position. */
  readonly positions: Values;
  readonly scale: number;
  /** Sliding: the last so many keys, its own included. Chunk: keys j with ⌊j / tokens⌋ as its own. */
  readonly window?: { readonly tokens: number; readonly kind: "sliding" | "chunk" } | undefined;
  /** Scores become cap · tanh(score / cap). */
  readonly softcap?: number | undefined;
  /** [heads]: one more score of each head, as it is, whose share goes nowhere. */
  readonly sinks?: Values | undefined;
}

/**
 * softmax(q·kᵀ · scale)·v.
 * q [tokens, heads, dim], k [keys, kvHeads, dim], v [keys, kvHeads, valueDim] → [tokens, heads, valueDim].
 */
export function attention(q: Values, k: Values, v: Values, options: AttentionOptions): Float64Array {
  const { heads, kvHeads, positions, scale, window, softcap, sinks } = options;
  const dim = q.length / (positions.length * heads);
  const valueDim = (v.length * dim) / k.length;
  const out = new Float64Array(positions.length * heads * valueDim);
  for (let t = 0; t < positions.length; t++) {
    const last = at(positions, t);
    let first = 0;
    while (window && !sees(window, last, first)) first++;
    for (let head = 0; head < heads; head++) {
      const kvHead = Math.floor((head * kvHeads) / heads);
      const scores = Array.from({ length: last - first + 1 }, (_, j) => {
        const s = dot(q, (t * heads + head) * dim, k, ((first + j) * kvHeads + kvHead) * dim, dim) * scale;
        return softcap === undefined ? s : softcap * Math.tanh(s / softcap);
      });
      const weights = softmax(sinks ? [...scores, at(sinks, head)] : scores);
      for (let j = 0; j < scores.length; j++) {
        const row = ((first + j) * kvHeads + kvHead) * valueDim;
        for (let i = 0; i < valueDim; i++) {
          const o = (t * heads + head) * valueDim + i;
          out[o] = at(out, o) + at(weights, j) * at(v, row + i);
        }
      }
    }
  }
  return out;
}

function sees(
  { tokens, kind }: { tokens: number; kind: "sliding" | "chunk" },
  i: number,
  j: number,
): boolean {
  return kind === "sliding" ? i - j < tokens : Math.floor(j / tokens) === Math.floor(i / tokens);
}

/** sigmoid(gates) ⊙ x, of each element [tokens, heads, size] or, with a gate for each head, [tokens, heads]. */
export function gateHeads(x: Values, gates: Values): Float64Array {
  const size = x.length / gates.length;
  return Float64Array.from(x, (value, i) => value / (1 + Math.exp(-at(gates, Math.floor(i / size)))));
}

/** exp(x) / Σexp(x), safe for large x; −∞ has probability 0. */
export function softmax(x: Values): Float64Array {
  let max = -Infinity;
  for (let i = 0; i < x.length; i++) max = Math.max(max, at(x, i));
  const powers = Float64Array.from(x, (value) => Math.exp(value - max));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}
