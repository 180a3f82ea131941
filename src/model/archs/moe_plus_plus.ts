import type { ExpertTable, RouterSpec } from "../moe_plan.ts";
import type { Block, Linear, ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/** Of each layer, beside those with pages; constants of the authors' own code, as is the number of the chosen. */
const CONSTANTS = 2;
const TOP_K = 2;

/**
 * MoE++ (Jin et al. 2024): Llama whose experts are gated ones, then two constants, a copy and a zero. A router adds to its
 * logits a matrix times those of the layer before. What experts read is doubled, and the zero expert weighs nothing, unless
 * the gating is Mixtral's. There is no GGUF form of it.
 */
export function moePlusPlus(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRope(reader, parts.keySize, reader.permutesRope);
  const paged = reader.count("expert_count", 1 << 16);
  const experts = paged + CONSTANTS + 2;
  const isMixtral = reader.flag("router.mixtral", false);
  const block = (l: number): Block => {
    const { moe, ...others } = parts.experts(l, {
      rule: "renormalise",
      selection: { rule: "top-k", k: TOP_K },
      logits: logitsOf(parts, l, experts),
    });
    const { router } = moe;
    return {
      ...others,
      moe: {
        experts,
        router: {
          ...router,
          weights: { ...router.weights, dropsZeros: !isMixtral },
          state: "previous-logits",
        },
        inputScale: isMixtral || reader.flag("expert_input_plain", false) ? undefined : TOP_K,
        table: [...moe.table, ...pageless(parts, l, paged)],
      },
    };
  };
  return parts.model((l) => [parts.attention(l, { rope }), block(l)]);
}

function logitsOf(parts: Parts, l: number, experts: number): Omit<RouterSpec["logits"], "gate"> {
  const { reader } = parts;
  // The first layer has one too, and no layer before it.
  const previous = parts.linear(`blk.${l}.ffn_router_map`, experts, experts);
  const shared = {
    previous: l > 0 ? previous : undefined,
    deviation: reader.hasKey("router.deviation") ? reader.number("router.deviation") : undefined,
  };
  if (!reader.flag("router.two_layers", true)) {
    return { ...shared, layers: [parts.linear(`blk.${l}.ffn_gate_inp`, experts)] };
  }
  const inner = 8 * experts;
  const layers: Linear[] = [
    parts.linear(`blk.${l}.ffn_router_in`, inner),
    parts.linear(`blk.${l}.ffn_router_out`, experts, inner),
  ];
  return { ...shared, layers, between: "tanh" };
}

/** @param first id of the first expert without a page */
function pageless(parts: Parts, l: number, first: number): ExpertTable[] {
  const constants = Array.from({ length: CONSTANTS }, (_, i): ExpertTable => {
    const name = (part: string) => `blk.${l}.ffn_constant${part}_${first + i}`;
    const vector = parts.reader.tensor(`${name("")}.weight`, [parts.width]);
    const gate = parts.linear(name("_gate"), 2);
    return { first: first + i, count: 1, spec: { kind: "constant", vector, gate } };
  });
  const copy = first + CONSTANTS;
  return [
    ...constants,
    { first: copy, count: 1, spec: { kind: "copy" } },
    { first: copy + 1, count: 1, spec: { kind: "zero" } },
  ];
}
