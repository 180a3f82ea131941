import type { Pointwise } from "../../kernels/activation.ts";
import type { RecurrentCell } from "../moe_plan.ts";
import type { FeedForwardBlock, ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

const MOST_STATE = 1 << 16;

/**
 * RMoE (Qiu et al. 2024): Mixtral whose router is a recurrent cell over the layers, or what it is compared with, a plain one.
 * Each layer has its own matrices into the cell and out of it; the cell is the same for all. There is no GGUF file of it.
 */
export function rmoe(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRope(reader, parts.keySize, reader.permutesRope);
  // One of those that the configuration was read to.
  const activation = reader.text("activation") as Pointwise;
  const router = recurrentRouter(parts);
  const shared = reader.setCount("expert_shared_feed_forward_length", 1 << 20);
  const hasBias = reader.flag("expert_sum_bias", false);
  const feedForward = (l: number): FeedForwardBlock => {
    const block = parts.experts(l, { rule: "renormalise", activation, logits: router?.(l) });
    const bias = hasBias ? reader.tensor(`blk.${l}.ffn_sum.bias`, [parts.width]) : undefined;
    return {
      ...block,
      moe: { ...block.moe, router: { ...block.moe.router, state: router && "hidden" }, bias },
      scale: reader.factor("feed_forward_scale"),
      base: shared === undefined ? undefined : { expert: parts.shared(l, shared, activation) },
    };
  };
  return parts.model((l) => [parts.attention(l, { rope }), feedForward(l)]);
}

/** The two matrices of layer `l` and the cell between them; undefined where the router is a plain one. */
function recurrentRouter(parts: Parts) {
  const { reader } = parts;
  const told = reader.text("router.cell");
  if (told === undefined) return undefined;
  const experts = reader.count("expert_count", 1 << 16);
  const size = reader.count("router.state_length", MOST_STATE);
  const kind = told === "gru" ? "gru" : "tanh";
  const gates = kind === "gru" ? ["r", "z", "n"] : ["n"];
  const matrices = (of: "i" | "h") => gates.map((gate) => parts.linear(`router_${of}${gate}`, size, size));
  const cell: RecurrentCell = { kind, input: matrices("i"), state: matrices("h") };
  return (l: number) => ({
    layers: [
      parts.linear(`blk.${l}.ffn_router_in`, size),
      parts.linear(`blk.${l}.ffn_router_out`, experts, size),
    ],
    between: cell,
  });
}
