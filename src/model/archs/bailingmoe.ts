import type { ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/** Ling (Bailing-MoE): softmax top-k, renormalised if the file says so, beside shared experts; interleaved rope. */
export function bailingmoe(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRope(reader, parts.keySize, true);
  const rule = reader.flag("expert_weights_norm", false) ? "renormalise" : "raw";
  const hidden = parts.expertHidden * reader.count("expert_shared_count", 1 << 12);
  const scale = 1 / Math.sqrt(rope.rotary);
  return parts.model((l) => [
    parts.attention(l, { rope, scale }),
    { ...parts.experts(l, rule), base: { expert: parts.shared(l, hidden) } },
  ]);
}
