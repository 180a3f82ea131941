import type { ModelPlan } from "../plan.ts";
import { ggufRopes } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/**
 * K-EXAONE: norms per head, three of four layers with a window and half-split rope, the fourth without either; the
 * first layers dense, then sigmoid routing beside shared experts.
 */
export function exaoneMoe(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRopes(reader, parts.keySize, false);
  const tokens = reader.count("attention.sliding_window", 2 ** 31);
  return parts.model((l) => {
    const isWindowed = parts.isWindowed(l, 4);
    return [
      parts.attention(l, {
        norms: "head",
        rope: isWindowed ? rope(true) : undefined,
        window: isWindowed ? { tokens, kind: "sliding" } : undefined,
      }),
      parts.denseThenExperts(l, { rule: parts.weightRule, gate: "sigmoid" }),
    ];
  });
}
