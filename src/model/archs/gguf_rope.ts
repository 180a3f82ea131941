import type { RopeSpec } from "../plan.ts";
import { plainFrequencies, yarnFrequencies } from "../rope.ts";
import type { FileReader } from "./reader.ts";

/** The rope of a GGUF file: base, rotated part and long-context scaling. In these keys 0 means "not set". */
export function ggufRope(reader: FileReader, headSize: number, interleaved: boolean): RopeSpec {
  const rotary = reader.count("rope.dimension_count", headSize, headSize);
  if (rotary % 2 !== 0) {
    throw reader.contradiction(`rope.dimension_count is odd: ${rotary}`, { rotary });
  }
  const base = reader.number("rope.freq_base", 10000);
  if (!(base > 1)) throw reader.contradiction(`rope.freq_base is ${base}, not above 1`, { base });
  const factor = reader.number("rope.scaling.factor", 0);
  const type = reader.text("rope.scaling.type") ?? "none";
  const attentionFactor = reader.number("rope.scaling.attn_factor", 1);
  const factors = reader.optional("rope_freqs.weight", [rotary / 2]);
  if (type === "yarn" && factor > 0) {
    const extrapolation = reader.number("rope.scaling.yarn_ext_factor", -1);
    const yarn = yarnFrequencies(rotary, base, {
      factor,
      originalContext: reader.count("rope.scaling.original_context_length", 2 ** 31),
      betaFast: reader.number("rope.scaling.yarn_beta_fast", 32),
      betaSlow: reader.number("rope.scaling.yarn_beta_slow", 1),
      extrapolation: extrapolation < 0 ? 1 : extrapolation,
      attentionFactor,
    });
    return { rotary, interleaved, ...yarn, factors };
  }
  const divide = type === "linear" && factor > 0 ? factor : 1;
  const frequencies = plainFrequencies(rotary, base).map((frequency) => frequency / divide);
  return { rotary, interleaved, frequencies, magnitude: attentionFactor, factors };
}
