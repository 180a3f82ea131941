import type { Config } from "./hugging_face_config.ts";
import type { Family } from "./hugging_face_family.ts";
import { ACTIVATIONS, activationOf, type Keys } from "./hugging_face_keys.ts";
import type { Names } from "./hugging_face_names.ts";

/** Of a GRU; a plain cell has the last. */
const GATES = ["r", "z", "n"];
const CELLS = ["gru", "rnn"];
const cellNames: Names = Object.fromEntries(
  GATES.flatMap((gate) =>
    ["i", "h"].flatMap((of) =>
      ["weight", "bias"].map((part) => [`rnn_router.${part}_${of}${gate}`, `router_${of}${gate}.${part}`]),
    ),
  ),
);

/** RMoE as its authors published it. Their class is called `LlamaForCausalLM`, so `model_type` alone tells it. */
export const llamaMoeRnn: Family = {
  architecture: "rmoe",
  activations: Object.keys(ACTIVATIONS),
  keys: routerKeys,
  names: {
    ...cellNames,
    "block_sparse_moe.weight1": "ffn_router_in",
    "block_sparse_moe.weight2": "ffn_router_out",
    block_sparse_moe: "ffn_sum",
    "mlp_share.gate_proj": "ffn_gate_shexp",
    "mlp_share.up_proj": "ffn_up_shexp",
    "mlp_share.down_proj": "ffn_down_shexp",
  },
};

function routerKeys(config: Config): Keys {
  // Whatever else it says, their code has a plain router.
  const cell = CELLS.find((known) => known === config.text("moe_router_type"));
  // Cut in several, their matrices come to the same, but for biases, which their code then leaves out.
  if (config.flag("attention_bias")) config.expect("pretraining_tp", [1]);
  // Dense layers before the first with experts do not run in the published code either.
  config.expect("moe_num_layers", [config.required("num_hidden_layers")]);
  const dense = config.required("intermediate_size");
  return {
    activation: activationOf(config, "silu"),
    ...(cell && {
      "router.cell": cell,
      "router.state_length": config.required("moe_router_rnn_hidden_size"),
    }),
    expert_feed_forward_length: config.number("moe_expert_intermediate_size") ?? dense,
    expert_sum_bias: config.flag("add_moe_bias") ?? false,
    ...(config.flag("add_moe_share_expert") ? sharedKeys(config, dense) : {}),
  };
}

/** One weight multiplies all that the block gives; the routed experts' own is what is left. */
function sharedKeys(config: Config, dense: number): Keys {
  const [routed, shared] = [config.number("moe_weight") ?? 0.5, config.number("share_weight") ?? 0.5];
  if (!(routed > 0 && shared > 0)) {
    throw config.unsupported(`moe_weight ${routed} and share_weight ${shared}`, "both above 0");
  }
  return {
    expert_shared_feed_forward_length: config.number("moe_share_expert_intermediate_size") ?? dense,
    expert_weights_scale: routed / shared,
    feed_forward_scale: shared,
  };
}
