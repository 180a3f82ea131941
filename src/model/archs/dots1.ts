import type { ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/**
 * dots.llm1: norms per head, half-split rope, the first layers dense, then experts beside shared ones, chosen with a
 * bias and renormalised if the file says so.
 */
export function dots1(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRope(reader, parts.keySize, false);
  return parts.model((l) => [
    parts.attention(l, { rope, norms: "head" }),
    parts.denseThenExperts(l, { rule: parts.weightRule }),
  ]);
}
