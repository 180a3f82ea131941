import type { Block, DeltaNetBlock, FeedForwardBlock, Linear, ModelPlan, RopeSpec } from "../plan.ts";
import { deltaNet, deltaSizes } from "./delta_parts.ts";
import { ggufRope, textRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

/**
 * Qwen3-Next: three of four layers a gated delta net, the fourth attention whose heads are gated, by rows of their own
 * behind each query; softmax top-k renormalised beside shared experts behind a gate; half-split rope.
 */
export function qwen3next(reader: FileReader): ModelPlan {
  const parts = new Parts(reader, { scales: true });
  return hybrid(parts, ggufRope(reader, parts.keySize, false), (l) => {
    const { valueHeads } = deltaSizes(reader);
    const unscaled = (linear: Linear) => ({ ...linear, scale: undefined });
    const net = deltaNet(parts, l, { beta: parts.linear(`blk.${l}.ssm_ba`, 2 * valueHeads) });
    const { qkv, gate, output } = net;
    return { ...net, qkv: qkv.map(unscaled), gate: unscaled(gate), output: unscaled(output), tiled: false };
  });
}

/** Qwen3.5-MoE: the same with alpha and beta apart, value heads in another order, and a rope for images too. */
export function qwen35moe(reader: FileReader): ModelPlan {
  const parts = new Parts(reader, { scales: true });
  const rope = textRope(reader, ggufRope(reader, parts.keySize, false), true);
  return hybrid(parts, rope, (l) => {
    const { valueHeads } = deltaSizes(reader);
    const alpha = parts.linear(`blk.${l}.ssm_alpha`, valueHeads);
    const beta = parts.linear(`blk.${l}.ssm_beta`, valueHeads);
    return { ...deltaNet(parts, l, { alpha, beta }), tiled: true };
  });
}

function hybrid(parts: Parts, rope: RopeSpec, net: (l: number) => DeltaNetBlock): ModelPlan {
  const { reader, keySize } = parts;
  const hidden = reader.setCount("expert_shared_feed_forward_length", 1 << 20) ?? parts.denseHidden;
  const every = reader.setCount("full_attention_interval", 4096) ?? 4;
  const isRecurrent = (l: number) =>
    reader.listedFlag("attention.recurrent_layers", l) ?? (l + 1) % every !== 0;
  const scale = reader.number("attention.scale", 0) || undefined;
  return parts.model((l) => {
    const mixer: Block = isRecurrent(l)
      ? net(l)
      : { ...parts.attention(l, { rope, norms: "head", scale, queryRows: 2 * keySize }), gate: "in q" };
    const gate = { ...parts.linear(`blk.${l}.ffn_gate_inp_shexp`, 1), scale: undefined };
    const feedForward: FeedForwardBlock = {
      ...parts.experts(l, { rule: "renormalise", norm: "post_attention_norm" }),
      base: { expert: parts.shared(l, hidden), gate },
    };
    return [mixer, feedForward];
  });
}
