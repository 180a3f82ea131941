/** Frequencies of a rope and the scaling of long contexts. Pure; float64. */

export interface Yarn {
  /** Context is `factor` times the original. */
  readonly factor: number;
  readonly originalContext: number;
  readonly betaFast: number;
  readonly betaSlow: number;
  /** Share of the ramp that keeps the original frequency: 1 for YaRN. */
  readonly extrapolation: number;
  readonly attentionFactor: number;
  /** Of DeepSeek: what grows is divided by 1 + 0.1 · this · ln(factor). */
  readonly logMultiplier?: number;
}

export interface Frequencies {
  /** Radians per position, one per pair. */
  readonly frequencies: readonly number[];
  /** Multiplies cos and sin. */
  readonly magnitude: number;
}

/** base^(−2i / rotary), i < rotary / 2 */
export function plainFrequencies(rotary: number, base: number): number[] {
  return Array.from({ length: rotary / 2 }, (_, i) => base ** ((-2 * i) / rotary));
}

/**
 * YaRN (Peng et al. 2023): high frequencies stay, low ones are divided by the factor, a ramp in between; cos
 * and sin grow by 1 + 0.1·ln(factor). Without extrapolation it is linear scaling, and nothing grows.
 */
export function yarnFrequencies(rotary: number, base: number, yarn: Yarn): Frequencies {
  const turns = (beta: number) =>
    (rotary * Math.log(yarn.originalContext / (beta * 2 * Math.PI))) / (2 * Math.log(base));
  const low = Math.max(0, Math.floor(turns(yarn.betaFast)));
  const high = Math.min(rotary - 1, Math.ceil(turns(yarn.betaSlow)));
  const frequencies = plainFrequencies(rotary, base).map((frequency, i) => {
    const ramp = Math.min(1, Math.max(0, (i - low) / Math.max(0.001, high - low)));
    const keep = (1 - ramp) * yarn.extrapolation;
    return (frequency / yarn.factor) * (1 - keep) + frequency * keep;
  });
  const grown = (share: number) => 1 + 0.1 * share * Math.log(Math.max(1, yarn.factor));
  const growth = yarn.extrapolation === 0 ? 1 : grown(1) / grown(yarn.logMultiplier ?? 0);
  return { frequencies, magnitude: yarn.attentionFactor * growth };
}

/** cos and sin of every pair at every position, times the magnitude: [positions, pairs, 2]. */
export function ropeTable(
  positions: number,
  { frequencies, magnitude }: Frequencies,
): Float32Array<ArrayBuffer> {
  const table = new Float32Array(positions * frequencies.length * 2);
  let at = 0;
  for (let position = 0; position < positions; position++) {
    for (const frequency of frequencies) {
      table[at++] = magnitude * Math.cos(position * frequency);
      table[at++] = magnitude * Math.sin(position * frequency);
    }
  }
  return table;
}
