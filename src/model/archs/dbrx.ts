import type { ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/** DBRX: layer norms, q, k and v in one matrix and cut off, half-split rope, softmax top-k renormalised. */
export function dbrx(reader: FileReader): ModelPlan {
  const parts = new Parts(reader, { norms: "layer" });
  const rope = ggufRope(reader, parts.keySize, false);
  const clamp = reader.number("attention.clamp_kqv", 0) || undefined;
  return parts.model((l) => [
    parts.attention(l, { rope, clamp }),
    parts.experts(l, { rule: "renormalise", norm: "attn_output_norm", hidden: parts.denseHidden }),
  ]);
}
