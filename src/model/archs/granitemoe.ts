import type { FeedForwardBlock, ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/**
 * Granite with experts, and without: as Mixtral, with shared experts in some, and a multiplier on the embedding, on what
 * each block adds, on q·k and, as a divisor, on the logits.
 */
export function granitemoe(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRope(reader, parts.keySize, reader.permutesRope);
  const scale = reader.number("attention.scale", 0) || undefined;
  const isSparse = reader.setCount("expert_count", 1 << 16) !== undefined;
  const hidden = reader.setCount("expert_shared_feed_forward_length", 1 << 20);
  const feedForward = (l: number): FeedForwardBlock => {
    if (!isSparse) return parts.dense(l);
    const base = hidden === undefined ? undefined : { expert: parts.shared(l, hidden) };
    return { ...parts.experts(l, { rule: "renormalise", hidden: parts.denseHidden }), base };
  };
  return parts.model((l) => [parts.attention(l, { rope, scale }), feedForward(l)], {
    embeddingScale: reader.factor("embedding_scale"),
    residualScale: reader.factor("residual_scale"),
    outputScale: 1 / reader.factor("logit_scale"),
  });
}
