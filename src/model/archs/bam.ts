import type { AttentionBlock, Linear, ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

const MOST_EXPERTS = 1 << 12;

/**
 * BAM (Zhang et al. 2024): attention and experts side by side behind one norm. All attention experts run and are added up
 * by a softmax; their keys and values are their own, or shared. Of the others the best one, with its raw weight. There
 * is no GGUF file of it.
 */
export function bam(reader: FileReader): ModelPlan {
  const parts = new Parts(reader, { norms: "layer" });
  const rope = ggufRope(reader, parts.keySize, false);
  return parts.model((l) => [
    { ...attention(parts, l), rope },
    { ...parts.experts(l, { rule: "raw", norm: "attn_norm", input: "beside-attention" }), parallel: true },
  ]);
}

function attention(parts: Parts, l: number): AttentionBlock {
  const { reader, width, keySize } = parts;
  const experts = reader.count("attention.expert_count", MOST_EXPERTS);
  const heads = reader.count("attention.head_count", 1 << 12);
  const kvHeads = reader.count("attention.head_count_kv", heads, heads);
  const sharesKeys = reader.flag("attention.shares_keys", false);
  const sets = sharesKeys ? 1 : experts;
  const linear = (part: string, ...shape: readonly number[]): Linear => ({
    weight: reader.tensor(`blk.${l}.attn_${part}.weight`, shape),
  });
  return {
    kind: "attention",
    norm: parts.norm(`blk.${l}.attn_norm`),
    ...{ heads: experts * heads, kvHeads: sets * kvHeads, keySize, valueSize: keySize },
    q: linear("q", experts, heads * keySize, width),
    k: linear("k", sets, kvHeads * keySize, width),
    v: linear("v", sets, kvHeads * keySize, width),
    output: linear("output", experts, width, heads * keySize),
    mixture: { experts, gate: linear("gate_inp", experts, width), sharesKeys },
    scale: 1 / Math.sqrt(keySize),
  };
}
