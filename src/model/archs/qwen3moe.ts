import type { Block, ExpertLinear, LayerPlan, Linear, ModelPlan, NormSpec } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import type { FileReader } from "./reader.ts";

/** Qwen3-MoE: pre-norm, q/k norm per head, half-split rope, softmax top-k renormalised, SwiGLU experts. */
export function qwen3moe(reader: FileReader): ModelPlan {
  const width = reader.count("embedding_length", 1 << 20);
  const heads = reader.count("attention.head_count", 1 << 12);
  const kvHeads = reader.count("attention.head_count_kv", heads, heads);
  const keySize = reader.count("attention.key_length", 1 << 12, width / heads);
  const valueSize = reader.count("attention.value_length", 1 << 12, keySize);
  const experts = reader.count("expert_count", 1 << 16);
  const k = reader.count("expert_used_count", experts);
  const hidden = reader.count("expert_feed_forward_length", 1 << 20);
  const epsilon = reader.number("attention.layer_norm_rms_epsilon");
  const vocabulary = reader.rows("token_embd.weight");
  const rope = ggufRope(reader, keySize, false);

  const norm = (name: string, length = width): NormSpec => ({
    kind: "rms",
    weight: reader.tensor(`${name}.weight`, [length]),
    epsilon,
  });
  const linear = (name: string, out: number, input: number): Linear => ({
    weight: reader.tensor(`${name}.weight`, [out, input]),
    bias: reader.optional(`${name}.bias`, [out]),
    scale: reader.optional(`${name}.scale`, [1]),
  });
  const expertLinear = (name: string, out: number, input: number): ExpertLinear => ({
    weight: reader.tensor(`${name}.weight`, [experts, out, input]),
    scale: reader.optional(`${name}.scale`, [experts]),
  });

  const layer = (l: number): LayerPlan => {
    const blk = `blk.${l}`;
    const attention: Block = {
      kind: "attention",
      norm: norm(`${blk}.attn_norm`),
      heads,
      kvHeads,
      keySize,
      valueSize,
      q: linear(`${blk}.attn_q`, heads * keySize, width),
      k: linear(`${blk}.attn_k`, kvHeads * keySize, width),
      v: linear(`${blk}.attn_v`, kvHeads * valueSize, width),
      output: linear(`${blk}.attn_output`, width, heads * valueSize),
      qNorm: norm(`${blk}.attn_q_norm`, keySize),
      kNorm: norm(`${blk}.attn_k_norm`, keySize),
      rope,
      scale: 1 / Math.sqrt(keySize),
    };
    const feedForward: Block = {
      kind: "feed-forward",
      norm: norm(`${blk}.ffn_norm`),
      moe: {
        experts,
        router: {
          input: "block",
          logits: { layers: [linear(`${blk}.ffn_gate_inp`, experts, width)], gate: "softmax" },
          selection: { rule: "top-k", k },
          weights: { rule: "renormalise", scale: 1 },
        },
        table: [
          {
            first: 0,
            count: experts,
            spec: {
              kind: "gated",
              activation: "silu",
              gate: expertLinear(`${blk}.ffn_gate_exps`, hidden, width),
              up: expertLinear(`${blk}.ffn_up_exps`, hidden, width),
              down: expertLinear(`${blk}.ffn_down_exps`, width, hidden),
            },
          },
        ],
      },
    };
    return { blocks: [attention, feedForward] };
  };

  const embedding = { weight: reader.tensor("token_embd.weight", [vocabulary, width]) };
  return {
    architecture: reader.architecture,
    name: String(reader.file.metadata["general.name"] ?? reader.file.name),
    vocabulary,
    width,
    contextTokens: reader.count("context_length", 2 ** 31),
    embedding,
    embeddingScale: 1,
    layers: Array.from({ length: reader.count("block_count", 4096) }, (_, l) => layer(l)),
    finalNorm: norm("output_norm"),
    output: reader.has("output.weight") ? linear("output", vocabulary, width) : embedding,
  };
}
