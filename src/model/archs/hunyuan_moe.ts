import type { ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/** Hunyuan-A13B: half-split rope, then norms per head; softmax top-k renormalised beside a shared expert. */
export function hunyuanMoe(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRope(reader, parts.keySize, false);
  const hidden = reader.setCount("expert_shared_feed_forward_length", 1 << 20) ?? parts.denseHidden;
  return parts.model((l) => [
    parts.attention(l, { rope, norms: "head", normsAfterRope: true }),
    {
      ...parts.experts(l, { rule: "renormalise", hidden: parts.denseHidden }),
      base: { expert: parts.shared(l, hidden) },
    },
  ]);
}
