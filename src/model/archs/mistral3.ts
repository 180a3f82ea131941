import type { ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/**
 * Mistral 3 and Ministral 3, with experts and without: as Llama, with queries that grow with their distance from the
 * original context.
 */
export function mistral3(reader: FileReader): ModelPlan {
  const parts = new Parts(reader, { scales: true });
  const rope = ggufRope(reader, parts.keySize, true);
  const scale = reader.number("attention.scale", 0) || undefined;
  const growth = reader.number("attention.temperature_scale", 0);
  const length = reader.setCount("rope.scaling.original_context_length", 2 ** 31);
  const temperature = growth !== 0 && length ? { scale: growth, length, offset: 0 } : undefined;
  const isSparse = reader.setCount("expert_count", 1 << 16) !== undefined;
  return parts.model((l) => [
    parts.attention(l, { rope, scale, temperature }),
    isSparse ? parts.experts(l, { rule: "renormalise", hidden: parts.denseHidden }) : parts.dense(l),
  ]);
}
