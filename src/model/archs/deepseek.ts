import type { ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/** DeepSeek-MoE: the first layers dense, then softmax top-k as it is beside shared experts; interleaved rope. */
export function deepseek(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRope(reader, parts.keySize, true);
  const denseLayers = reader.number("leading_dense_block_count", 0);
  const hidden = parts.expertHidden * reader.count("expert_shared_count", 1 << 12);
  return parts.model((l) => [
    parts.attention(l, { rope }),
    l < denseLayers
      ? parts.dense(l)
      : { ...parts.experts(l, "raw"), base: { expert: parts.shared(l, hidden) } },
  ]);
}
