import type { Pointwise } from "../../kernels/activation.ts";
import type { MetadataValue } from "../../source/model_file.ts";
import type { Config } from "./hugging_face_config.ts";

/** Values of GGUF metadata by key, without the architecture's name before it. */
export type Keys = Record<string, MetadataValue>;

/** GGUF keys, and where a configuration has what they say: the first of these that is there. */
const numbers: Readonly<Record<string, readonly string[]>> = {
  embedding_length: ["hidden_size"],
  block_count: ["num_hidden_layers"],
  context_length: ["max_position_embeddings"],
  feed_forward_length: ["intermediate_size"],
  "attention.head_count": ["num_attention_heads"],
  "attention.head_count_kv": ["num_key_value_heads"],
  "attention.key_length": ["head_dim"],
  "attention.value_length": ["head_dim"],
  "attention.layer_norm_rms_epsilon": ["rms_norm_eps"],
  "attention.sliding_window": ["sliding_window"],
  expert_count: ["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"],
  expert_used_count: ["num_experts_per_tok", "num_experts_per_token", "moe_k"],
  expert_feed_forward_length: ["moe_intermediate_size"],
  expert_shared_feed_forward_length: ["shared_expert_intermediate_size", "shared_intermediate_size"],
  expert_shared_count: ["n_shared_experts", "num_shared_experts", "moe_num_shared_experts"],
  leading_dense_block_count: ["first_k_dense_replace", "moe_layer_start_index"],
  expert_weights_scale: ["routed_scaling_factor"],
  expert_group_count: ["n_group"],
  expert_group_used_count: ["topk_group"],
  embedding_scale: ["embedding_multiplier"],
  residual_scale: ["residual_multiplier"],
  "attention.scale": ["attention_multiplier"],
  logit_scale: ["logits_scaling"],
  interleave_moe_layer_step: ["moe_layer_interval"],
};
const REQUIRED = ["embedding_length", "block_count", "context_length", "attention.head_count"];
const MOST_ROTARY = 1 << 12;
/** llama.cpp's numbers for the functions of a router. */
const GATES: Readonly<Record<string, number>> = { softmax: 1, sigmoid: 2, noaux_tc: 2 };

/** What `hidden_act` may be, and what it is here. */
export const ACTIVATIONS: Readonly<Record<string, Pointwise>> = {
  silu: "silu",
  swish: "silu",
  gelu: "gelu-erf",
  gelu_python: "gelu-erf",
  gelu_new: "gelu",
  gelu_fast: "gelu",
  gelu_accurate: "gelu",
  gelu_pytorch_tanh: "gelu",
  relu: "relu",
  relu2: "relu-squared",
  sigmoid: "sigmoid",
  tanh: "tanh",
  linear: "linear",
};

/** Of a family whose `activations` are these. @param otherwise where the configuration says nothing */
export function activationOf(config: Config, otherwise: string): Pointwise {
  return ACTIVATIONS[config.text("hidden_act") ?? otherwise] as Pointwise;
}

/** What all families say in the same words. */
export function commonKeys(config: Config, hasNtkRope = false): Keys {
  const keys: Keys = {};
  for (const [key, names] of Object.entries(numbers)) {
    // A list of counts is for its family to read.
    if (key === "expert_count" && Array.isArray(config.value(...names))) continue;
    const value = REQUIRED.includes(key) ? config.required(...names) : config.number(...names);
    if (value !== undefined) keys[key] = value;
  }
  const normalises = config.flag("norm_topk_prob");
  if (normalises !== undefined) keys.expert_weights_norm = normalises;
  const scoring = config.text("scoring_func");
  if (scoring !== undefined) {
    const gate = GATES[scoring];
    if (gate === undefined) throw config.unsupported(`scoring_func ${scoring}`, "softmax or sigmoid routing");
    keys.expert_gating_func = gate;
  }
  return { ...keys, ...ropeKeys(config, hasNtkRope) };
}

/** Base, rotated part and scaling of the rope, from `rope_parameters` or from the older keys. */
function ropeKeys(config: Config, hasNtkRope: boolean): Keys {
  const scaling = config.inner("rope_parameters", "rope_scaling");
  const keys: Keys = {};
  const base = scaling?.number("rope_theta") ?? config.number("rope_theta");
  if (base !== undefined) keys["rope.freq_base"] = base;
  const share = scaling?.number("partial_rotary_factor") ?? config.number("partial_rotary_factor") ?? 1;
  const rotary = config.headSize * share;
  keys["rope.dimension_count"] = rotary;
  const type = scaling?.text("rope_type", "type") ?? "default";
  if (!scaling || type === "default") {
    // In some files each kind of layer has parameters of its own.
    if (scaling?.value("full_attention") === undefined) return keys;
    throw config.unsupported("ropes by kind of layer", "one rope for all layers");
  }
  if (type === "linear") {
    return { ...keys, "rope.scaling.type": type, "rope.scaling.factor": scaling.required("factor") };
  }
  // What changes only where a sequence is longer than the model was made for, which nothing here lets it be.
  if (type === "dynamic") return keys;
  if (type === "ntk" && hasNtkRope) {
    return { ...keys, "rope.freq_base": (base ?? 10000) * scaling.required("factor") };
  }
  if (type === "yarn") return { ...keys, ...yarnKeys(scaling, config) };
  if (type !== "llama3")
    throw config.unsupported(`${type} scaling of its rope`, "linear, yarn or llama3 scaling");
  return { ...keys, "rope.factors": llama3Factors(scaling, config, rotary, base ?? 10000) };
}

function yarnKeys(scaling: Config, config: Config): Keys {
  scaling.expect("truncate", [true]);
  const factor = scaling.required("factor");
  const growth = (share: number) => 1 + 0.1 * share * Math.log(Math.max(1, factor));
  const [all, one] = [scaling.number("mscale_all_dim"), scaling.number("mscale")];
  const told = scaling.number("attention_factor") ?? (all && one ? growth(one) / growth(all) : undefined);
  return {
    "rope.scaling.type": "yarn",
    "rope.scaling.factor": factor,
    "rope.scaling.original_context_length":
      scaling.number("original_max_position_embeddings") ?? config.required("max_position_embeddings"),
    "rope.scaling.yarn_beta_fast": scaling.number("beta_fast") ?? 32,
    "rope.scaling.yarn_beta_slow": scaling.number("beta_slow") ?? 1,
    // GGUF has what comes on top of the growth that YaRN itself asks for.
    "rope.scaling.attn_factor": told === undefined ? 1 : told / growth(1),
  };
}

/** What divides the frequencies: 1 for short waves, the factor for long ones, between them a smooth change. */
function llama3Factors(scaling: Config, config: Config, rotary: number, base: number): number[] {
  if (!Number.isInteger(rotary / 2) || rotary > MOST_ROTARY) {
    const message = `heads have ${rotary} elements to rotate, not an even number up to ${MOST_ROTARY}`;
    throw config.bad(message, { rotary, most: MOST_ROTARY });
  }
  const factor = scaling.required("factor");
  const [low, high] = [scaling.required("low_freq_factor"), scaling.required("high_freq_factor")];
  const context =
    scaling.number("original_max_position_embeddings") ?? config.required("original_max_position_embeddings");
  return Array.from({ length: rotary / 2 }, (_, i) => {
    const turns = (context * base ** ((-2 * i) / rotary)) / (2 * Math.PI);
    if (turns > high) return 1;
    if (turns < low) return factor;
    const smooth = (turns - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}
