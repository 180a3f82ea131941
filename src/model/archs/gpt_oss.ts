import type { ModelPlan } from "../plan.ts";
import { ggufRopes } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/**
 * gpt-oss: windows in every other layer, a sink per head, biases everywhere, clamped SwiGLU experts, softmax over the
 * chosen; half-split rope.
 */
export function gptOss(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRopes(reader, parts.keySize, false);
  const tokens = reader.count("attention.sliding_window", 2 ** 31);
  return parts.model((l) => {
    const isWindowed = parts.isWindowed(l, 2);
    const { heads, ...attention } = parts.attention(l, { rope: rope(isWindowed) });
    const sinks = reader.tensor(`blk.${l}.attn_sinks.weight`, [heads]);
    const window = isWindowed ? ({ tokens, kind: "sliding" } as const) : undefined;
    return [
      { ...attention, heads, sinks, window },
      parts.experts(l, { rule: "renormalise", norm: "post_attention_norm", activation: "swiglu-oai" }),
    ];
  });
}
