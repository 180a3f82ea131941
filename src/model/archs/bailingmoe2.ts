import type { ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/**
 * Ling and Ring 2 (Bailing-MoE 2): q, k, v in one matrix, norms per head, partial half-split rope; the first layers
 * dense, then sigmoid routing within the best groups beside shared experts.
 */
export function bailingmoe2(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRope(reader, parts.keySize, false);
  const each = reader.setCount("expert_shared_feed_forward_length", 1 << 20) ?? parts.expertHidden;
  const shared = each * reader.count("expert_shared_count", 1 << 12);
  return parts.model((l) => [
    parts.attention(l, { rope, norms: "head" }),
    parts.denseThenExperts(l, { rule: parts.weightRule, gate: "sigmoid", shared }),
  ]);
}
