import type { Pointwise } from "../../kernels/activation.ts";
import type { ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/**
 * Dynamic routing (Huang et al. 2024): Llama with experts in the first of every so many layers, as many of them for each
 * token as have more than a share p of the probability; weights are the probabilities. There is no GGUF form of it, and
 * `expert_top_p` is a key of this repository.
 */
export function dynamicMoe(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRope(reader, parts.keySize, false);
  // One of those that the configuration was read to.
  const activation = reader.text("activation") as Pointwise;
  const every = reader.count("interleave_moe_layer_step", 4096);
  const selection = {
    rule: "top-p",
    p: reader.number("expert_top_p"),
    kMax: reader.count("expert_count", 1 << 16),
  } as const;
  return parts.model((l) => [
    parts.attention(l, { rope }),
    l % every === 0
      ? parts.experts(l, { rule: "raw", selection, activation })
      : parts.dense(l, { activation }),
  ]);
}
