import type { Config } from "./hugging_face_config.ts";
import type { Family } from "./hugging_face_family.ts";
import { ACTIVATIONS, activationOf, type Keys } from "./hugging_face_keys.ts";

/** Monet as its authors published it, both ways of decomposing its experts. */
export const monet: Family = {
  architecture: "monet",
  // `pretraining_tp` cuts products of attention into parts that are put together again.
  expects: { moe_decompose: ["vertical", "horizontal"] },
  activations: Object.keys(ACTIVATIONS),
  keys,
  names: {
    "router.w1": "key_scores_1",
    "router.w2": "key_scores_2",
    "router.norm1.running_mean": "key_mean_1",
    "router.norm1.running_var": "key_variance_1",
    "router.norm2.running_mean": "key_mean_2",
    "router.norm2.running_var": "key_variance_2",
    "moe.u": "ffn_up",
    "moe.u1": "ffn_up_1",
    "moe.u2": "ffn_up_2",
    "moe.v": "ffn_down",
    "moe.v11": "ffn_down_11",
    "moe.v12": "ffn_down_12",
    "moe.v21": "ffn_down_21",
    "moe.v22": "ffn_down_22",
    "moe.b": "ffn_sum",
    "moe.b1": "ffn_sum_1",
    "moe.b2": "ffn_sum_2",
  },
};

function keys(config: Config): Keys {
  return {
    activation: activationOf(config, "relu2"),
    expert_count: config.required("moe_experts"),
    expert_used_count: config.required("moe_topk"),
    expert_feed_forward_length: config.required("moe_dim"),
    "product_key.head_count": config.required("moe_heads"),
    "product_key.router_layer_step": config.required("moe_groups"),
    "product_key.decompose": config.text("moe_decompose") ?? "vertical",
  };
}
