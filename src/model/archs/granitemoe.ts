import type { Block, ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/**
 * Granite MoE: as Mixtral, with shared experts in some, and a multiplier on the embedding, on what each block adds, on
 * q·k and, as a divisor, on the logits.
 */
export function granitemoe(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRope(reader, parts.keySize, true);
  const scale = reader.number("attention.scale", 0) || undefined;
  const hidden = reader.setCount("expert_shared_feed_forward_length", 1 << 20);
  const layer = (l: number): Block[] => {
    const experts = parts.experts(l, "renormalise");
    const base = hidden === undefined ? undefined : { expert: parts.shared(l, hidden) };
    return [parts.attention(l, { rope, scale }), { ...experts, base }];
  };
  return parts.model(layer, {
    embeddingScale: reader.factor("embedding_scale"),
    residualScale: reader.factor("residual_scale"),
    outputScale: 1 / reader.factor("logit_scale"),
  });
}
