import type { Block, ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/** Qwen1.5-MoE and Qwen2-MoE: biases on q, k, v, softmax top-k as it is, shared experts behind a gate of their own. */
export function qwen2moe(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRope(reader, parts.keySize, false);
  const hidden = reader.setCount("expert_shared_feed_forward_length", 1 << 20) ?? parts.denseHidden;
  return parts.model((l) => {
    const experts = parts.experts(l, { rule: "raw" });
    const base = { expert: parts.shared(l, hidden), gate: parts.linear(`blk.${l}.ffn_gate_inp_shexp`, 1) };
    const feedForward: Block = { ...experts, base };
    return [parts.attention(l, { rope }), feedForward];
  });
}
