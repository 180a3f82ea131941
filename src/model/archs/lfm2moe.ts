import type { ModelPlan, ShortConvolutionBlock } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/**
 * LFM2-MoE: short convolutions in layers without key-value heads, attention with norms per head in the others; the first
 * layers dense, then experts by sigmoid with a selection bias, renormalised; half-split rope.
 */
export function lfm2moe(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const { width } = parts;
  const rope = ggufRope(reader, parts.keySize, false);
  const tokens = reader.count("shortconv.l_cache", 1 << 10);
  const convolution = (l: number): ShortConvolutionBlock => ({
    kind: "short-convolution",
    norm: parts.norm(`blk.${l}.attn_norm`),
    input: { ...parts.linear(`blk.${l}.shortconv.in_proj`, 3 * width), scale: undefined },
    kernel: reader.tensor(`blk.${l}.shortconv.conv.weight`, [width, tokens]),
    output: { ...parts.linear(`blk.${l}.shortconv.out_proj`, width), scale: undefined },
  });
  return parts.model(
    (l) => [
      reader.number("attention.head_count_kv", undefined, l) === 0
        ? convolution(l)
        : parts.attention(l, { rope, norms: "head" }),
      l < parts.denseLayers ? parts.dense(l) : parts.experts(l, { rule: "renormalise" }),
    ],
    { finalNorm: parts.norm("token_embd_norm") },
  );
}
