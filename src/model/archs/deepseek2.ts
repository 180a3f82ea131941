import type { LatentAttentionBlock, Linear, ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { latentScale } from "./latent_scale.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

const MOST_RANK = 1 << 16;
const MOST_HEAD_SIZE = 1 << 12;
/** GLM 4.7 Flash, whose first files do not say that its gate is a sigmoid. */
const VOCABULARY_OF_GLM = 154880;

/**
 * DeepSeek-V2, V3 and R1, Kimi K2, GLM 4.7 Flash: latent attention with interleaved rope; the first layers dense, then
 * experts beside shared ones, chosen by groups and with a bias where the file has them.
 */
export function deepseek2(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  if (reader.number("attention.temperature_scale", 0) !== 0) {
    throw reader.unsupported("latent attention with an attention.temperature_scale");
  }
  const gate = reader.rows("token_embd.weight") === VOCABULARY_OF_GLM ? "sigmoid" : "softmax";
  const attention = latentAttention(parts);
  return parts.model((l) => [attention(l), parts.denseThenExperts(l, { rule: parts.weightRule, gate })]);
}

function latentAttention(parts: Parts): (l: number) => LatentAttentionBlock {
  const { reader, width } = parts;
  const heads = reader.count("attention.head_count", 1 << 12);
  const rank = reader.count("attention.kv_lora_rank", MOST_RANK);
  // Files from before the latent was cached have sizes of heads in the keys of other families.
  const keySize = reader.setCount("attention.key_length_mla", MOST_HEAD_SIZE) ?? parts.keySize;
  const valueSize = reader.setCount("attention.value_length_mla", MOST_HEAD_SIZE) ?? parts.valueSize;
  const { magnitude, scale } = latentScale({
    keySize,
    factor: reader.text("rope.scaling.type") === "none" ? 1 : reader.factor("rope.scaling.factor"),
    isYarn:
      reader.text("rope.scaling.type") === "yarn" &&
      reader.number("rope.scaling.yarn_ext_factor", -1, 0, -1) !== 0,
    attentionFactor: reader.factor("rope.scaling.attn_factor"),
    logMultiplier: reader.number("rope.scaling.yarn_log_multiplier", 0),
  });
  const plainRope = ggufRope(reader, keySize, true);
  const rope = { ...plainRope, magnitude, factors: undefined, longFactors: undefined };
  const { rotary } = rope;
  const plain = keySize - rotary;
  if (plain < 1) {
    throw reader.contradiction(
      `rope.dimension_count is ${rotary}, heads of latent attention have ${keySize}`,
      { keySize, rotary },
    );
  }
  return (l) => {
    const name = (part: string) => `blk.${l}.attn_${part}`;
    // llama.cpp multiplies none of them by a scale, but for the output.
    const linear = (part: string, ...shape: readonly number[]): Linear => ({
      weight: reader.tensor(`${name(part)}.weight`, shape),
    });
    const joined = reader.has(`${name("kv_b")}.weight`)
      ? linear("kv_b", heads * (plain + valueSize), rank)
      : undefined;
    const isLite = !reader.has(`${name("q_a")}.weight`);
    const queryRank = isLite ? width : reader.count("attention.q_lora_rank", MOST_RANK);
    return {
      kind: "latent-attention",
      norm: parts.norm(name("norm")),
      ...{ heads, rank, rotary, plain, valueSize, rope, scale },
      ...(!isLite && {
        queryDown: { linear: linear("q_a", queryRank, width), norm: parts.norm(name("q_a_norm"), queryRank) },
      }),
      q: linear(isLite ? "q" : "q_b", heads * keySize, queryRank),
      keyValue: linear("kv_a_mqa", rank + rotary, width),
      keyValueNorm: parts.norm(name("kv_a_norm"), rank),
      keyUp: joined ?? linear("k_b", heads, rank, plain),
      valueUp: joined ?? linear("v_b", heads, valueSize, rank),
      output: { ...parts.linear(name("output"), width, heads * valueSize), bias: undefined },
    };
  };
}
