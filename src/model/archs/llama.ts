import type { ModelPlan } from "../plan.ts";
import { expertsAndNulls } from "./adamoe.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/**
 * Llama, and Mixtral where there are experts: pre-norm, softmax top-k renormalised, SwiGLU. GGUF files hold q and k
 * permuted so that the pairs of the rope are neighbours. Layers with null experts are AdaMoE's.
 */
export function llama(reader: FileReader): ModelPlan {
  const parts = new Parts(reader, { scales: true });
  const rope = ggufRope(reader, parts.keySize, reader.permutesRope);
  const isSparse = reader.setCount("expert_count", 1 << 16) !== undefined;
  const feedForward = (l: number) => {
    if (!isSparse) return parts.dense(l);
    // The rows of the router's second matrix, of which no configuration tells.
    const nulls = reader.rows(`blk.${l}.ffn_gate_inp_null.weight`);
    if (nulls > 0) return expertsAndNulls(parts, l, nulls);
    return parts.experts(l, { rule: "renormalise", hidden: parts.denseHidden });
  };
  return parts.model((l) => [parts.attention(l, { rope }), feedForward(l)]);
}
