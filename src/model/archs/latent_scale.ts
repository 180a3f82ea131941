export interface LatentScaling {
  /** Elements of a head's query. */
  readonly keySize: number;
  /** Of the context: `rope.scaling.factor`, 1 if there is none. */
  readonly factor: number;
  readonly isYarn: boolean;
  /** `rope.scaling.attn_factor` */
  readonly attentionFactor: number;
  /** `rope.scaling.yarn_log_multiplier`: a tenth of what DeepSeek calls `mscale_all_dim`; 0 if not set. */
  readonly logMultiplier: number;
}

/**
 * What q·k is multiplied with, and cos and sin, as llama.cpp's deepseek2 has it. YaRN's growth of long contexts is in the
 * scale, for all of q and k, with the multiplier's share; without one in cos and sin too. Linear scaling, which turns
 * nothing larger, has it in the scale all the same.
 */
export function latentScale(scaling: LatentScaling): { readonly scale: number; readonly magnitude: number } {
  const { keySize, factor, isYarn, attentionFactor, logMultiplier } = scaling;
  const grown = 1 + 0.1 * Math.log(isYarn ? Math.max(1, factor) : factor);
  const own = isYarn && logMultiplier !== 0 ? 1 : grown;
  const mscale = attentionFactor * own * (1 + logMultiplier * Math.log(factor));
  return { scale: mscale ** 2 / Math.sqrt(keySize), magnitude: attentionFactor * (isYarn ? own : 1) };
}
