import type { ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/**
 * FactorLLM (Zhao et al. 2024): Llama whose MLP is cut into experts. A router with a bias chooses some, and their sum counts
 * as if all had been. There is no GGUF form of it.
 */
export function factorLlm(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRope(reader, parts.keySize, reader.permutesRope);
  return parts.model((l) => [parts.attention(l, { rope }), parts.experts(l, { rule: "one-over-share" })]);
}
