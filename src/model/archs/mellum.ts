import type { ModelPlan } from "../plan.ts";
import { plainFrequencies } from "../rope.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/**
 * Mellum 2: norms per head, three of four layers with a window and plain half-split rope, the fourth over everything
 * with the scaled one; softmax top-k renormalised.
 */
export function mellum(reader: FileReader): ModelPlan {
  const parts = new Parts(reader, { scales: true });
  const rope = ggufRope(reader, parts.keySize, false);
  const base = reader.number("rope.freq_base", 10000);
  const plain = { ...rope, frequencies: plainFrequencies(rope.rotary, base), magnitude: 1 };
  const tokens = reader.setCount("attention.sliding_window", 2 ** 31);
  return parts.model((l) => {
    const isWindowed = tokens !== undefined && parts.isWindowed(l, 4);
    const window = isWindowed ? ({ tokens, kind: "sliding" } as const) : undefined;
    return [
      parts.attention(l, { norms: "head", rope: isWindowed ? plain : rope, window }),
      parts.experts(l, { rule: "renormalise" }),
    ];
  });
}
