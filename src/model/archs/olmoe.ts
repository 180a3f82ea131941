import type { ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/** OLMoE: norms over all of q and all of k, half-split rope, softmax top-k as it is. */
export function olmoe(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRope(reader, parts.keySize, false);
  return parts.model((l) => [
    parts.attention(l, { rope, norms: "whole" }),
    parts.experts(l, { rule: "raw" }),
  ]);
}
