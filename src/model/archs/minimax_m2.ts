import type { ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/** MiniMax-M2: norms over all of q and all of k, partial half-split rope, sigmoid routing with a bias, renormalised. */
export function minimaxM2(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRope(reader, parts.keySize, false);
  return parts.model((l) => [
    parts.attention(l, { rope, norms: "whole" }),
    parts.experts(l, { rule: "renormalise", gate: "sigmoid", hidden: parts.denseHidden }),
  ]);
}
