import type { FeedForwardBlock, ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/** What a file that does not say so has: Grok-1. */
const GROK_1 = {
  embeddingScale: 78.38367176906169,
  logitScale: 0.5773502691896257,
  attentionScale: 0.08838834764831845,
  softcap: 30,
};

/**
 * Grok: a norm before and behind each block, capped scores, GELU experts by softmax, renormalised, in Grok-2 beside a
 * dense part; half-split rope.
 */
export function grok(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRope(reader, parts.keySize, false, { betaFast: 8 });
  const softcap = reader.number("attn_logit_softcapping", GROK_1.softcap) || undefined;
  const scale = reader.number("attention.output_scale", GROK_1.attentionScale);
  const feedForward = (l: number): FeedForwardBlock => {
    const own = reader.has(`blk.${l}.layer_output_norm.weight`) ? "layer_output_norm" : "post_ffw_norm";
    const postNorm = parts.norm(`blk.${l}.${own}`);
    const experts = parts.experts(l, { rule: "renormalise", activation: "gelu" });
    if (!reader.has(`blk.${l}.ffn_up.weight`)) return { ...experts, postNorm };
    return { ...experts, postNorm, base: parts.dense(l, { activation: "gelu" }).base, scale: Math.SQRT1_2 };
  };
  return parts.model(
    (l) => {
      const postNorm = parts.norm(`blk.${l}.attn_output_norm`);
      return [parts.attention(l, { rope, scale, softcap, postNorm }), feedForward(l)];
    },
    {
      embeddingScale: reader.number("embedding_scale", GROK_1.embeddingScale),
      outputScale: reader.number("logit_scale", GROK_1.logitScale),
      outputSoftcap: reader.number("final_logit_softcapping", 0) || undefined,
    },
  );
}
