import type { Pointwise } from "../../kernels/activation.ts";
import type { ExpertLinear, ExpertSpec } from "../moe_plan.ts";
import type { AttentionBlock, FeedForwardBlock, Linear, ModelPlan } from "../plan.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

const MOST_EXPERTS = 1 << 16;
const MOST_HEADS = 1 << 12;

/**
 * GPT with experts (DeepSpeed-MoE, Rajbhandari et al. 2022; Switch, Fedus et al. 2021): learned positions, layer norms and
 * biases, MLPs of two matrices. Each layer has a number of experts of its own; one chosen expert counts as much as the
 * router finds it likely, two share what they have. Beside them there may be an MLP for every token, and a matrix that says
 * how much of each. There is no GGUF form of it.
 */
export function megatronMoe(reader: FileReader): ModelPlan {
  const parts = new Parts(reader, { norms: "layer" });
  const { width, keySize, denseHidden: hidden } = parts;
  // One of those that the configuration was read to.
  const activation = reader.text("activation") as Pointwise;
  const isResidual = reader.flag("expert_residual", false);
  const heads = reader.count("attention.head_count", MOST_HEADS);
  const ofHeads = (name: string): Linear => ({
    weight: reader.tensor(`${name}.weight`, [heads, keySize, width]),
    bias: reader.optional(`${name}.bias`, [heads, keySize]),
  });
  const attention = (l: number): AttentionBlock => ({
    kind: "attention",
    norm: parts.norm(`blk.${l}.attn_norm`),
    ...{ heads, kvHeads: heads, keySize, valueSize: keySize, scale: 1 / Math.sqrt(keySize) },
    q: ofHeads(`blk.${l}.attn_q`),
    k: ofHeads(`blk.${l}.attn_k`),
    v: ofHeads(`blk.${l}.attn_v`),
    output: parts.linear(`blk.${l}.attn_output`, width, heads * keySize),
  });
  const mlp = (linear: (part: string, out: number, input: number) => ExpertLinear): ExpertSpec => ({
    ...{
      kind: "two-matrix",
      activation,
      up: linear("up", hidden, width),
      down: linear("down", width, hidden),
    },
  });
  const base = (l: number, suffix: string) => ({
    expert: mlp((part, out, input) => parts.linear(`blk.${l}.ffn_${part}${suffix}`, out, input)),
  });
  const feedForward = (l: number): FeedForwardBlock => {
    const norm = parts.norm(`blk.${l}.ffn_norm`);
    const experts = reader.count("expert_counts", MOST_EXPERTS, undefined, l);
    if (experts === 1) return { kind: "feed-forward", norm, base: base(l, "") };
    const k = reader.count("expert_used_count", experts);
    const spec = mlp((part, out, input) => ({
      weight: reader.tensor(`blk.${l}.ffn_${part}_exps.weight`, [experts, out, input]),
      bias: reader.optional(`blk.${l}.ffn_${part}_exps.bias`, [experts, out]),
    }));
    return {
      ...{ kind: "feed-forward", norm },
      ...(isResidual && { base: base(l, "_shexp"), mix: parts.linear(`blk.${l}.ffn_mix`, 2) }),
      moe: {
        experts,
        router: {
          input: "block",
          logits: { layers: [parts.linear(`blk.${l}.ffn_gate_inp`, experts)], gate: "softmax" },
          selection: { rule: "top-k", k },
          weights: { rule: k === 1 ? "raw" : "renormalise", scale: 1 },
        },
        table: [{ first: 0, count: experts, spec }],
      },
    };
  };
  const positions = reader.count("context_length", 2 ** 31);
  return parts.model((l) => [attention(l), feedForward(l)], {
    positions: { weight: reader.tensor("position_embd.weight", [positions, width]) },
  });
}
