import type { FeedForwardBlock, ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/**
 * ERNIE 4.5 MoE: the first layers dense, then experts in every so many-th layer, chosen with a bias, renormalised without
 * it, some beside shared experts; interleaved rope.
 */
export function ernie4_5moe(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRope(reader, parts.keySize, true);
  const { denseLayers } = parts;
  const every = reader.setCount("interleave_moe_layer_step", 4096) ?? 1;
  const hidden = reader.setCount("expert_shared_feed_forward_length", 1 << 20);
  const feedForward = (l: number): FeedForwardBlock => {
    if (l < denseLayers || (l + 1) % every !== 0) return parts.dense(l);
    const base = hidden === undefined ? undefined : { expert: parts.shared(l, hidden) };
    return { ...parts.experts(l, { rule: "renormalise" }), base };
  };
  return parts.model((l) => {
    const attention = parts.attention(l, { rope });
    // llama.cpp reads a bias on the output of attention and leaves it out.
    const output = { ...attention.output, bias: undefined };
    return [{ ...attention, output }, feedForward(l)];
  });
}
