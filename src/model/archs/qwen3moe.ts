import type { ModelPlan } from "../plan.ts";
import { ggufRope, textRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/** Qwen3-MoE: pre-norm, q/k norm per head, half-split rope, softmax top-k renormalised, SwiGLU experts. */
export function qwen3moe(reader: FileReader): ModelPlan {
  const parts = new Parts(reader, { scales: true });
  const rope = ggufRope(reader, parts.keySize, false);
  return parts.model((l) => [
    parts.attention(l, { rope, norms: "head" }),
    parts.experts(l, { rule: "renormalise" }),
  ]);
}

/** The text part of Qwen3-VL-MoE: the same, with a rope for images too. */
export function qwen3vlmoe(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = textRope(reader, ggufRope(reader, parts.keySize, false), true);
  return parts.model((l) => [
    parts.attention(l, { rope, norms: "head" }),
    parts.experts(l, { rule: "renormalise" }),
  ]);
}
