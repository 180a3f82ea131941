import type { Config } from "./hugging_face_config.ts";
import type { Family } from "./hugging_face_family.ts";
import { ACTIVATIONS, activationOf, type Keys } from "./hugging_face_keys.ts";
import type { Names } from "./hugging_face_names.ts";

const MOST_HEADS = 1 << 10;
const PARTS = ["gate", "up", "down"];

/** Time-MoE as its authors published it. What a configuration leaves out has the values of their code. */
export const timeMoe: Family = {
  architecture: "time-moe",
  activations: Object.keys(ACTIVATIONS),
  keys: forecastKeys,
  names,
};

function forecastKeys(config: Config): Keys {
  const [dense, balanced] = [config.flag("use_dense") ?? false, config.flag("apply_aux_loss") ?? true];
  if (dense === balanced) {
    throw config.unsupported(`use_dense ${dense} and apply_aux_loss ${balanced}`, "one of the two set");
  }
  const hidden = config.required("intermediate_size");
  const k = config.number("num_experts_per_tok") ?? 2;
  return {
    "attention.layer_norm_rms_epsilon": config.number("rms_norm_eps") ?? 1e-6,
    activation: activationOf(config, "silu"),
    expert_count: config.number("num_experts") ?? 1,
    expert_used_count: k,
    expert_feed_forward_length: Math.floor(hidden / k),
    expert_shared_feed_forward_length: hidden,
    leading_dense_block_count: dense ? config.required("num_hidden_layers") : 0,
    "forecast.input_size": config.number("input_size") ?? 1,
    "forecast.head_count": horizonLengths(config).length,
    "forecast.horizon_lengths": horizonLengths(config),
  };
}

/** A list, or one number. */
function horizonLengths(config: Config): number[] {
  const value = config.value("horizon_lengths") ?? 1;
  const lengths = Array.isArray(value) ? value : [value];
  const isSound = lengths.every((length) => Number.isInteger(length) && length >= 1);
  if (isSound && lengths.length >= 1 && lengths.length <= MOST_HEADS) return lengths;
  throw config.bad(`horizon_lengths is ${JSON.stringify(value)}, not whole numbers above 0`, {
    most: MOST_HEADS,
  });
}

function names(config: Config): Names {
  const heads = horizonLengths(config).map((_, i) => [`lm_heads.${i}.out_layer`, `horizon_${i}`]);
  const mlp = (from: string, to: string) =>
    PARTS.map((part) => [`ffn_layer.${from}${part}_proj`, `ffn_${part}${to}`]);
  return {
    "embed_layer.gate_layer": "series_gate",
    "embed_layer.emb_layer": "series_value",
    "ffn_layer.gate": "ffn_gate_inp",
    "ffn_layer.shared_expert_gate": "ffn_gate_inp_shexp",
    ...Object.fromEntries([
      ...heads,
      ...mlp("", ""),
      ...mlp("experts.*.", "_exps"),
      ...mlp("shared_expert.", "_shexp"),
    ]),
  };
}
