import type { FeedForwardBlock, ModelPlan } from "../plan.ts";
import { ggufRopes } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/** llama.cpp's constants for this family. */
const CHUNK_TOKENS = 8192;
const TEMPERATURE = { scale: 0.1, length: 8192, offset: 1 };
const FULL_EVERY = 4;
/** Maverick, which alone has so many, has no norms of q and k. */
const EXPERTS_WITHOUT_NORMS = 128;

/**
 * Llama 4: attention within stretches of 8192 tokens, every fourth layer over all of them without rope; interleaved
 * rope, then norms without weights; experts in every so many-th layer, each fed with its input times its sigmoid
 * weight, beside a shared one.
 */
export function llama4(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRopes(reader, parts.keySize, true);
  const hasWindows = reader.number("attention.sliding_window", CHUNK_TOKENS) !== 0;
  const ropeEvery = hasWindows ? FULL_EVERY : reader.count("block_count", 4096);
  const every = reader.count("interleave_moe_layer_step", 4096);
  const isNormed = reader.number("expert_count") !== EXPERTS_WITHOUT_NORMS;
  const feedForward = (l: number): FeedForwardBlock => {
    if ((l + 1) % every !== 0) return parts.dense(l);
    const experts = parts.experts(l, { rule: "raw", gate: "sigmoid", weightsFirst: true });
    return { ...experts, base: { expert: parts.shared(l, parts.expertHidden) } };
  };
  return parts.model((l) => {
    const isWindowed = hasWindows && parts.isWindowed(l, FULL_EVERY);
    const isRotated = (l + 1) % ropeEvery !== 0;
    const attention = parts.attention(l, {
      rope: isRotated ? rope(isWindowed) : undefined,
      norms: isRotated && isNormed ? "plain" : undefined,
      normsAfterRope: true,
      temperature: isRotated || !hasWindows ? undefined : TEMPERATURE,
      scale: reader.number("attention.scale", 0) || undefined,
      window: isWindowed ? { tokens: CHUNK_TOKENS, kind: "chunk" } : undefined,
    });
    return [attention, feedForward(l)];
  });
}
