import type { RopeSpec } from "../plan.ts";
import { plainFrequencies, yarnFrequencies } from "../rope.ts";
import type { FileReader } from "./reader.ts";

/** As llama.cpp names them. */
const SCALINGS: readonly string[] = ["none", "linear", "yarn", "longrope"];

/** The rope of a GGUF file: base, rotated part and long-context scaling. In these keys 0 means "not set". */
export function ggufRope(
  reader: FileReader,
  headSize: number,
  interleaved: boolean,
  { betaFast = 32 } = {},
): RopeSpec {
  return ropeOf(reader, headSize, interleaved, baseOf(reader, "rope.freq_base", 10000), betaFast);
}

/** The same for families in which layers with a window may have another base: of such layers, and of the others. */
export function ggufRopes(
  reader: FileReader,
  headSize: number,
  interleaved: boolean,
): (isWindowed: boolean) => RopeSpec {
  const full = ggufRope(reader, headSize, interleaved);
  const base = baseOf(reader, "rope.freq_base", 10000);
  const windowBase = baseOf(reader, "rope.freq_base_swa", base);
  const windowed = windowBase === base ? full : ropeOf(reader, headSize, interleaved, windowBase);
  return (isWindowed) => (isWindowed ? windowed : full);
}

/**
 * A rope of several positions (time, height, width) for text, in which they are equal. What no section covers has the
 * position 0 in llama.cpp, and is not rotated. Interleaved, the three take pairs by turns, else one after the other.
 */
export function textRope(reader: FileReader, rope: RopeSpec, byTurns: boolean): RopeSpec {
  const key = "rope.dimension_sections";
  const pairs = rope.rotary / 2;
  const sections = Array.from({ length: 3 }, (_, i) => reader.upTo(key, pairs, 0, i));
  const seen = sections.reduce((sum, section) => sum + section, 0);
  const all = seen + reader.upTo(key, pairs, 0, 3);
  if (seen === 0) throw reader.contradiction(`${key} has ${seen} of ${pairs} pairs`, { seen, pairs });
  const covered = (pair: number) => {
    const sector = pair % all;
    return byTurns ? sector < 3 * (sections[sector % 3] as number) : sector < seen;
  };
  return { ...rope, frequencies: rope.frequencies.map((frequency, i) => (covered(i) ? frequency : 0)) };
}

function baseOf(reader: FileReader, key: string, fallback: number): number {
  const base = reader.number(key, fallback);
  if (base > 1) return base;
  throw reader.contradiction(`${key} is ${base}, not above 1`, { base });
}

function ropeOf(
  reader: FileReader,
  headSize: number,
  interleaved: boolean,
  base: number,
  betaFast = 32,
): RopeSpec {
  const rotary = reader.count("rope.dimension_count", headSize, headSize);
  if (rotary % 2 !== 0) {
    throw reader.contradiction(`rope.dimension_count is odd: ${rotary}`, { rotary });
  }
  const factor = reader.number("rope.scaling.factor", reader.number("rope.scale_linear", 0));
  const type = reader.text("rope.scaling.type") ?? "linear";
  if (!SCALINGS.includes(type)) throw reader.unsupported(`rope.scaling.type ${type}`, { type });
  const attentionFactor = reader.factor("rope.scaling.attn_factor");
  const factors =
    reader.optional("rope_freqs.weight", [rotary / 2]) ??
    reader.optional("rope_factors_short.weight", [rotary / 2]);
  const long = reader.optional("rope_factors_long.weight", [rotary / 2]);
  const above = reader.setCount("rope.scaling.original_context_length", 2 ** 31);
  const longFactors =
    long && !reader.has("rope_freqs.weight")
      ? { tensor: long, above: above ?? reader.count("context_length", 2 ** 31) }
      : undefined;
  if (type === "yarn" && factor > 0) {
    const extrapolation = reader.number("rope.scaling.yarn_ext_factor", -1, 0, -1);
    const yarn = yarnFrequencies(rotary, base, {
      factor,
      originalContext: reader.count("rope.scaling.original_context_length", 2 ** 31),
      betaFast: reader.number("rope.scaling.yarn_beta_fast", betaFast),
      betaSlow: reader.number("rope.scaling.yarn_beta_slow", 1),
      extrapolation: extrapolation < 0 ? 1 : extrapolation,
      attentionFactor,
      logMultiplier: reader.number("rope.scaling.yarn_log_multiplier", 0),
    });
    return { rotary, interleaved, ...yarn, factors, longFactors };
  }
  const divide = type === "linear" && factor > 0 ? factor : 1;
  const told = reader.numbers("rope.factors", rotary / 2);
  const frequencies = plainFrequencies(rotary, base).map((f, i) => f / (told?.[i] ?? divide));
  return { rotary, interleaved, frequencies, magnitude: attentionFactor, factors, longFactors };
}
