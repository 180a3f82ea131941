import type { ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/**
 * Phi-3.5-MoE: biases on norms and projections, half-split rope with factors for short and for long contexts, softmax
 * top-k renormalised. llama.cpp has RMS norms where the model was trained with layer norms, and the usual softmax where
 * it was trained with SparseMixer; its files are run as it runs them.
 */
export function phimoe(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRope(reader, parts.keySize, false);
  return parts.model((l) => [
    parts.attention(l, { rope }),
    parts.experts(l, { rule: "renormalise", hidden: parts.denseHidden }),
  ]);
}
