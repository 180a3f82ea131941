import type { Config } from "./hugging_face_config.ts";
import type { Family } from "./hugging_face_family.ts";
import type { Keys } from "./hugging_face_keys.ts";

/** BAM. Its weights are not public: settings and names are those that families near to it have. */
export const bam: Family = {
  architecture: "bam",
  expects: { attention_bias: [false], rope_scaling: [], norm_topk_prob: [false] },
  keys: bamKeys,
  names: {
    "self_attn.gate": "attn_gate_inp",
    "self_attn.experts.*.q_proj": "attn_q",
    "self_attn.experts.*.k_proj": "attn_k",
    "self_attn.experts.*.v_proj": "attn_v",
    "self_attn.experts.*.o_proj": "attn_output",
  },
};

function bamKeys(config: Config): Keys {
  return {
    "attention.layer_norm_epsilon": config.number("layer_norm_eps") ?? 1e-5,
    "attention.expert_count": config.required("num_attention_experts"),
    "attention.shares_keys": config.flag("share_key_value") ?? false,
    expert_used_count: config.number("num_experts_per_tok") ?? 1,
  };
}
