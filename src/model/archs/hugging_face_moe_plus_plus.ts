import type { Config } from "./hugging_face_config.ts";
import type { Family } from "./hugging_face_family.ts";
import type { Keys } from "./hugging_face_keys.ts";

/** Two constants, a copy and a zero. */
const PAGELESS = 4;

/** MoE++ as its authors published it. Dense layers between those with experts do not run in their code. */
export const moePlusPlusFamily: Family = {
  architecture: "moe-plus-plus",
  expects: { moe_expert_interval: [1] },
  activations: "any",
  hasNtkRope: true,
  keys,
  names: {
    "mlp.moe.gate.wg": "ffn_gate_inp",
    "mlp.moe.gate.wg.0": "ffn_router_in",
    "mlp.moe.gate.wg.2": "ffn_router_out",
    "mlp.moe.gate.gate_map": "ffn_router_map",
    "mlp.moe.experts.experts.*.up_proj": { first: "ffn_gate_exps", second: "ffn_up_exps", by: "rows" },
    "mlp.moe.experts.experts.*.down_proj": "ffn_down_exps",
    "mlp.moe.experts.experts.*.constant": { each: "ffn_constant" },
    "mlp.moe.experts.experts.*.wg": { each: "ffn_constant_gate" },
  },
};

function keys(config: Config): Keys {
  const [experts] = config.list("num_experts") ?? [];
  if (typeof experts !== "number" || experts <= PAGELESS) {
    throw config.unsupported(`num_experts ${JSON.stringify(experts)}`, `more than ${PAGELESS} experts`);
  }
  const deviation = config.number("moe_gate_norm_std") ?? 1;
  const isNormed = config.flag("moe_use_logits_norm") ?? false;
  if (isNormed && !(deviation > 0)) {
    throw config.unsupported(`moe_gate_norm_std ${deviation}`, "a standard deviation above 0");
  }
  return {
    expert_count: experts - PAGELESS,
    "router.two_layers": config.flag("moe_2layer_gate") ?? true,
    "router.mixtral": config.flag("moe_use_mixtral_gating") ?? false,
    expert_input_plain: config.flag("moe_feature_no_mul_topk") ?? false,
    ...(isNormed ? { "router.deviation": deviation } : {}),
  };
}
