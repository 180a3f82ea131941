import type { FeedForwardBlock } from "../plan.ts";
import type { Parts } from "./parts.ts";

const MOST_EXPERTS = 1 << 16;

/**
 * AdaMoE on Mixtral (Zeng et al. 2024): the top k of experts and null experts together. What is chosen of null experts is
 * left out and the others are renormalised, so a token has k experts, fewer, or none.
 * @param nulls how many null experts there are
 */
export function expertsAndNulls(parts: Parts, l: number, nulls: number): FeedForwardBlock {
  const { reader } = parts;
  const experts = reader.count("expert_count", MOST_EXPERTS);
  const linear = (name: string, rows: number) => parts.linear(`blk.${l}.${name}`, rows);
  const { moe, ...block } = parts.experts(l, {
    rule: "renormalise",
    hidden: parts.denseHidden,
    selection: { rule: "top-k", k: reader.count("expert_used_count", experts + nulls) },
    logits: { layers: [linear("ffn_gate_inp", experts), linear("ffn_gate_inp_null", nulls)] },
  });
  const weights = { ...moe.router.weights, dropsZeros: true };
  return {
    ...block,
    moe: {
      ...moe,
      experts: experts + nulls,
      router: { ...moe.router, weights },
      table: [...moe.table, { first: experts, count: nulls, spec: { kind: "zero" } }],
    },
  };
}
