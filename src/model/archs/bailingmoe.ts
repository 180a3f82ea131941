import type { ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/** Ling (Bailing-MoE): softmax top-k, renormalised if the file says so, beside shared experts; interleaved rope. */
export function bailingmoe(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRope(reader, parts.keySize, reader.permutesRope);
  const scale = 1 / Math.sqrt(rope.rotary);
  return parts.model((l) => [
    parts.attention(l, { rope, scale }),
    {
      ...parts.experts(l, { rule: parts.weightRule }),
      base: { expert: parts.shared(l, parts.sharedHidden) },
    },
  ]);
}
