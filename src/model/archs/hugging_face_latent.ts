import type { Config } from "./hugging_face_config.ts";
import { type Family, SIGMOID } from "./hugging_face_family.ts";
import type { Keys } from "./hugging_face_keys.ts";

export const deepseekV2: Family = {
  architecture: "deepseek2",
  // Its groups are chosen by their best expert, those of GGUF files by their best two.
  expects: {
    ...{ norm_topk_prob: [false], scoring_func: ["softmax"], topk_method: ["greedy"], n_group: [1] },
    ...{ moe_layer_freq: [1], rope_interleave: [true] },
  },
  keys: latentKeys,
};

export const deepseekV3: Family = {
  architecture: "deepseek2",
  expects: {
    scoring_func: ["sigmoid"],
    topk_method: ["noaux_tc"],
    moe_layer_freq: [1],
    rope_interleave: [true],
  },
  keys: (config) => ({ ...latentKeys(config), ...SIGMOID }),
  hasGuesses: true,
};

/** Sizes of latent attention, and its share of YaRN. The keys of heads are those of the latent, as GGUF caches it. */
function latentKeys(config: Config): Keys {
  const rank = config.required("kv_lora_rank");
  const rotary = config.required("qk_rope_head_dim");
  const queryRank = config.number("q_lora_rank");
  return {
    "attention.kv_lora_rank": rank,
    ...(queryRank === undefined ? {} : { "attention.q_lora_rank": queryRank }),
    "attention.head_count_kv": 1,
    "attention.key_length": rank + rotary,
    "attention.value_length": rank,
    "attention.key_length_mla": config.required("qk_nope_head_dim") + rotary,
    "attention.value_length_mla": config.required("v_head_dim"),
    "rope.dimension_count": rotary,
    ...yarnKeys(config),
  };
}

/** What grows with the context is told as one number for q·k, which holds where cos and sin do not grow. */
function yarnKeys(config: Config): Keys {
  const scaling = config.inner("rope_parameters", "rope_scaling");
  if (scaling?.text("rope_type", "type") !== "yarn") return {};
  const share = scaling.required("mscale_all_dim");
  scaling.expect("mscale", [share]);
  scaling.expect("attention_factor", [1]);
  if (scaling.number("mscale") === undefined && share !== 1) {
    throw config.unsupported("mscale_all_dim without mscale", "both of them");
  }
  return { "rope.scaling.attn_factor": 1, "rope.scaling.yarn_log_multiplier": 0.1 * share };
}
