import type { ModelPlan } from "../plan.ts";
import { ggufRopes } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/** What llama.cpp takes a window for, whatever the file says. */
const WINDOW_TOKENS = 4096;
const FULL_EVERY = 4;

/**
 * SmallThinker: the router reads the residual stream before attention; ReGLU experts, renormalised; half-split rope,
 * which every fourth layer does without where others have windows.
 */
export function smallthinker(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRopes(reader, parts.keySize, false);
  const hasWindows = reader.setCount("attention.sliding_window", 2 ** 31) !== undefined;
  return parts.model((l) => {
    const isWindowed = hasWindows && parts.isWindowed(l, FULL_EVERY, "first");
    const isRotated = !hasWindows || l % FULL_EVERY !== 0;
    return [
      parts.attention(l, {
        rope: isRotated ? rope(isWindowed) : undefined,
        window: isWindowed ? { tokens: WINDOW_TOKENS, kind: "sliding" } : undefined,
      }),
      parts.experts(l, { rule: "renormalise", activation: "relu", input: "before-attention" }),
    ];
  });
}
