import type { Config } from "./hugging_face_config.ts";
import type { Family } from "./hugging_face_family.ts";
import type { Keys } from "./hugging_face_keys.ts";

/** Llama 4 without its eyes: experts' matrices are [in, out], gate and up in one. */
export const llama4Text: Family = {
  architecture: "llama4",
  expects: {
    attention_chunk_size: [8192],
    attn_temperature_tuning: [true, 4],
    attn_scale: [0.1],
    floor_scale: [8192],
  },
  keys: llama4Keys,
  names: {
    "feed_forward.gate_proj": "ffn_gate",
    "feed_forward.up_proj": "ffn_up",
    "feed_forward.down_proj": "ffn_down",
    "feed_forward.router": "ffn_gate_inp",
    "feed_forward.experts.gate_up_proj": { first: "ffn_gate_exps", second: "ffn_up_exps", by: "columns" },
    "feed_forward.experts.down_proj": { transposed: "ffn_down_exps" },
    "feed_forward.shared_expert.gate_proj": "ffn_gate_shexp",
    "feed_forward.shared_expert.up_proj": "ffn_up_shexp",
    "feed_forward.shared_expert.down_proj": "ffn_down_shexp",
  },
};

/** The mapping has every fourth layer without rope, and goes by the number of experts for the norms of q and k. */
function llama4Keys(config: Config): Keys {
  const isRegular = (config.list("no_rope_layers") ?? []).every(
    (rotates, l) => Boolean(rotates) === ((l + 1) % 4 !== 0),
  );
  if (!isRegular) throw config.unsupported("its no_rope_layers", "rope in three of four layers");
  config.expect("use_qk_norm", [config.required("num_local_experts") !== 128]);
  return {
    feed_forward_length: config.required("intermediate_size_mlp"),
    expert_feed_forward_length: config.required("intermediate_size"),
    interleave_moe_layer_step: config.required("interleave_moe_layer_step"),
    "attention.sliding_window": config.required("attention_chunk_size"),
  };
}
