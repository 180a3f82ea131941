import type { FeedForwardBlock, ModelPlan } from "../plan.ts";
import { ggufRopes } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

const FULL_EVERY = 4;

/**
 * Command A with experts: attention and experts side by side behind one norm; three of four layers with a window and
 * interleaved rope; the first layers dense, and rotated; shared experts are averaged with the sum of the others.
 */
export function cohere2moe(reader: FileReader): ModelPlan {
  const isRms = reader.number("attention.layer_norm_rms_epsilon", 0) !== 0;
  const parts = new Parts(reader, { scales: true, norms: isRms ? "rms" : "layer" });
  const rope = ggufRopes(reader, parts.keySize, true);
  const tokens = reader.count("attention.sliding_window", 2 ** 31);
  const hidden = reader.setCount("expert_shared_feed_forward_length", 1 << 20);
  const feedForward = (l: number): FeedForwardBlock => {
    const norm = "attn_norm";
    if (l < parts.denseLayers) return { ...parts.dense(l, { norm }), parallel: true };
    const experts = parts.experts(l, { rule: parts.weightRule, gate: "sigmoid", norm });
    if (reader.setCount("expert_shared_count", 1 << 12) === undefined) return { ...experts, parallel: true };
    const base = { expert: parts.shared(l, hidden ?? parts.sharedHidden) };
    return { ...experts, parallel: true, base, scale: 0.5 };
  };
  return parts.model(
    (l) => {
      const isWindowed = parts.isWindowed(l, FULL_EVERY, "first");
      const isRotated = isWindowed || l < parts.denseLayers;
      const window = isWindowed ? ({ tokens, kind: "sliding" } as const) : undefined;
      return [parts.attention(l, { rope: isRotated ? rope(isWindowed) : undefined, window }), feedForward(l)];
    },
    { outputScale: reader.factor("logit_scale") },
  );
}
