import type { ModelPlan } from "../plan.ts";
import { ggufRope, textRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/**
 * GLM-4.5: biases on q, k, v, norms of heads in the large model, a partial half-split rope (of several positions where it
 * sees images); the first layers dense, then sigmoid routing with a selection bias beside shared experts.
 */
export function glm4moe(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const plain = ggufRope(reader, parts.keySize, false);
  const rope = reader.listed("rope.dimension_sections", 0) ? textRope(reader, plain, false) : plain;
  const norm = "post_attention_norm";
  return parts.model((l) => {
    const norms = reader.has(`blk.${l}.attn_q_norm.weight`) ? "head" : undefined;
    return [
      parts.attention(l, { rope, norms }),
      parts.denseThenExperts(l, { rule: parts.weightRule, gate: "sigmoid", norm }),
    ];
  });
}
