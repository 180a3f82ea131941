import type { ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/**
 * Llama, and Mixtral where there are experts: pre-norm, softmax top-k renormalised, SwiGLU. GGUF files hold q and k
 * permuted so that the pairs of the rope are neighbours.
 */
export function llama(reader: FileReader): ModelPlan {
  const parts = new Parts(reader, { scales: true });
  const rope = ggufRope(reader, parts.keySize, reader.permutesRope);
  const isSparse = reader.setCount("expert_count", 1 << 16) !== undefined;
  return parts.model((l) => [
    parts.attention(l, { rope }),
    isSparse ? parts.experts(l, { rule: "renormalise", hidden: parts.denseHidden }) : parts.dense(l),
  ]);
}
