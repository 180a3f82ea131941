import type { FeedForwardBlock, ModelPlan } from "../plan.ts";
import { ggufRopes } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

const FULL_EVERY = 4;

/**
 * Arcee AFMoE (Trinity): a norm before and behind each block, attention behind a sigmoid gate, windows and rope in
 * three of four layers, sigmoid routing with a selection bias beside shared experts; the embedding grows by √width.
 */
export function afmoe(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const { keySize, valueSize } = parts;
  const rope = ggufRopes(reader, keySize, false);
  const tokens = reader.setCount("attention.sliding_window", 2 ** 31);
  const hasShared = reader.setCount("expert_shared_count", 1 << 12) !== undefined;
  const feedForward = (l: number): FeedForwardBlock => {
    if (l < parts.denseLayers) return parts.dense(l);
    const base = hasShared ? { expert: parts.shared(l, parts.sharedHidden) } : undefined;
    return { ...parts.experts(l, { rule: parts.weightRule, gate: "sigmoid" }), base };
  };
  return parts.model(
    (l) => {
      const isWindowed = tokens !== undefined && parts.isWindowed(l, FULL_EVERY);
      const isRotated = (l + 1) % FULL_EVERY !== 0;
      const attention = parts.attention(l, {
        rope: isRotated ? rope(isWindowed) : undefined,
        norms: "head",
        window: isWindowed ? { tokens, kind: "sliding" } : undefined,
        postNorm: parts.norm(`blk.${l}.post_attention_norm`),
      });
      const gate = parts.linear(`blk.${l}.attn_gate`, attention.heads * valueSize);
      const postNorm = parts.norm(`blk.${l}.post_ffw_norm`);
      return [
        { ...attention, gate: { ...gate, scale: undefined } },
        { ...feedForward(l), postNorm },
      ];
    },
    { embeddingScale: Math.sqrt(parts.width) },
  );
}
