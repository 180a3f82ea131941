import type { ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/** Qwen3: as Qwen3-MoE, every layer dense. */
export function qwen3(reader: FileReader): ModelPlan {
  const parts = new Parts(reader, { scales: true });
  const rope = ggufRope(reader, parts.keySize, false);
  return parts.model((l) => [parts.attention(l, { rope, norms: "head" }), parts.dense(l)]);
}
