import type { ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/**
 * Read-ME (Cai et al. 2024): Llama whose layers are cut into experts, one of which a small decoder over the tokens alone
 * names for all layers. What all experts of a layer have in common is in each of them, or beside them. There is no GGUF
 * form of it. Where their code generates with several blocks in the router, all but the first see the newest token alone;
 * here they see what they see of a prompt.
 */
export function readMe(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRope(reader, parts.keySize, reader.permutesRope);
  return parts.model((l) => {
    const [, hidden = 0] = reader.shape(`blk.${l}.ffn_gate_exps.weight`);
    const [shared = 0] = reader.shape(`blk.${l}.ffn_gate_shexp.weight`);
    const block = parts.experts(l, { rule: "renormalise", hidden });
    const base = shared > 0 ? { expert: parts.shared(l, shared) } : undefined;
    return [parts.attention(l, { rope }), { ...block, base }];
  });
}
