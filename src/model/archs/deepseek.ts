import type { ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/** DeepSeek-MoE: the first layers dense, then softmax top-k as it is beside shared experts; interleaved rope. */
export function deepseek(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRope(reader, parts.keySize, reader.permutesRope);
  return parts.model((l) => [parts.attention(l, { rope }), parts.denseThenExperts(l, { rule: "raw" })]);
}
