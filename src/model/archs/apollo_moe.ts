import type { Pointwise } from "../../kernels/activation.ts";
import type { ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/**
 * Apollo-MoE (Zheng et al. 2024): Qwen2, its last layers turned into experts by softmax top-k, with shared experts behind
 * a gate of their own where the file has a size for them. There is no GGUF form of it.
 */
export function apolloMoe(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRope(reader, parts.keySize, false);
  // One of those that the configuration was read to.
  const activation = reader.text("activation") as Pointwise;
  const shared = reader.setCount("expert_shared_feed_forward_length", 1 << 20);
  return parts.model((l) => {
    const attention = parts.attention(l, { rope });
    if (!reader.has(`blk.${l}.ffn_gate_inp.weight`)) return [attention, parts.dense(l, { activation })];
    const experts = parts.experts(l, { rule: parts.weightRule, activation });
    if (shared === undefined) return [attention, experts];
    const gate = parts.linear(`blk.${l}.ffn_gate_inp_shexp`, 1);
    return [attention, { ...experts, base: { expert: parts.shared(l, shared, activation), gate } }];
  });
}
