import { bam } from "./hugging_face_bam.ts";
import { factorLlm } from "./hugging_face_factor_llm.ts";
import { type Family, SIGMOID } from "./hugging_face_family.ts";
import { ACTIVATIONS, activationOf } from "./hugging_face_keys.ts";
import { deepseekV2, deepseekV3 } from "./hugging_face_latent.ts";
import { llama4Text } from "./hugging_face_llama4.ts";
import { megatronMoe } from "./hugging_face_megatron.ts";
import { moduleFormer } from "./hugging_face_moduleformer.ts";
import { moePlusPlusFamily } from "./hugging_face_moe_plus_plus.ts";
import { monet } from "./hugging_face_monet.ts";
import type { Names } from "./hugging_face_names.ts";
import { readMe } from "./hugging_face_read_me.ts";
import { llamaMoeRnn } from "./hugging_face_rmoe.ts";
import { timeMoe } from "./hugging_face_time_moe.ts";

const noWindow = { sliding_window: [] };
/** What code does not read that has no other rope than a plain one. */
const noRopeScaling = { rope_scaling: null, rope_parameters: null };
/** Windows are there in the file and off. */
const windowOff = { use_sliding_window: [false] };
const everyLayer = { decoder_sparse_step: [1], mlp_only_layers: [[]] };

const granite: Family = {
  architecture: "granitemoe",
  expects: { position_embedding_type: ["rope"] },
  keys: (config) => ({ "attention.scale": config.number("attention_multiplier") ?? 1 }),
};
const bailingNames: Names = {
  word_embeddings: "token_embd",
  "attention.query_key_value": "attn_qkv",
  "attention.dense": "attn_output",
};
/** The authors' own code turns by base 10000 whatever the configuration says, and has as many key-value heads as others. */
const dynamicMoe: Family = {
  architecture: "dynamic-moe",
  settings: () => ({ num_key_value_heads: null, rope_theta: null, ...noRopeScaling }),
  activations: Object.keys(ACTIVATIONS),
  keys: (config) => ({
    activation: activationOf(config, "silu"),
    interleave_moe_layer_step: config.required("expert_frequency"),
    expert_top_p: config.required("top_p_threshold"),
  }),
  names: {
    input_norm: "attn_norm",
    post_attention_norm: "ffn_norm",
    "mlp.router": "ffn_gate_inp",
    "mlp.mlp.gate_proj": "ffn_gate",
    "mlp.mlp.up_proj": "ffn_up",
    "mlp.mlp.down_proj": "ffn_down",
  },
};
/**
 * The authors' own code takes one width for all and a plain rope, whatever its configuration has. Which layers have
 * experts its tensors say: in some of its variants the last two, in others all but `mlp_only_layers`.
 */
const apolloMoe: Family = {
  architecture: "apollo-moe",
  settings: () => noRopeScaling,
  activations: Object.keys(ACTIVATIONS),
  keys: (config) => {
    const hidden = config.required("intermediate_size");
    // Its attentions differ on where a window is: one longer than any text is none.
    const window = config.number("sliding_window") ?? 4096;
    if (window < config.required("max_position_embeddings")) config.expect("use_sliding_window", [false]);
    return {
      activation: activationOf(config, "silu"),
      expert_feed_forward_length: hidden,
      expert_shared_feed_forward_length: config.flag("share_flag") ? hidden : 0,
    };
  },
};
/**
 * By `model_type`, or where models of another kind have it too, `model_type` and the first of `architectures`, or the one
 * setting that tells them apart.
 */
export const families: Readonly<Record<string, Family>> = {
  llama: { architecture: "llama", expects: { pretraining_tp: [1] } },
  "llama MoEForCausalLM": dynamicMoe,
  "llama with add_cluster_predictor": readMe,
  mistral: { architecture: "llama", expects: noWindow },
  mixtral: {
    architecture: "llama",
    expects: noWindow,
    names: { "block_sparse_moe.gate2": "ffn_gate_inp_null" },
  },
  qwen3: { architecture: "qwen3", expects: windowOff },
  qwen3_moe: { architecture: "qwen3moe", expects: { ...windowOff, ...everyLayer, norm_topk_prob: [true] } },
  qwen2_moe: { architecture: "qwen2moe", expects: { ...windowOff, ...everyLayer, norm_topk_prob: [false] } },
  olmoe: { architecture: "olmoe", expects: { clip_qkv: [], norm_topk_prob: [false] } },
  granitemoe: granite,
  granitemoeshared: granite,
  deepseek: {
    architecture: "deepseek",
    expects: { norm_topk_prob: [false], scoring_func: ["softmax"], moe_layer_freq: [1] },
  },
  deepseek_v2: deepseekV2,
  deepseek_v3: deepseekV3,
  kimi_k2: deepseekV3,
  dots1: { architecture: "dots1", expects: { ...noWindow, ...windowOff }, keys: () => SIGMOID },
  glm4_moe: {
    architecture: "glm4moe",
    keys: () => SIGMOID,
    names: { post_attention_layernorm: "post_attention_norm" },
    hasGuesses: true,
  },
  minimax_m2: {
    architecture: "minimax-m2",
    expects: { use_qk_norm: [true], qk_norm_type: ["per_layer"] },
    keys: (config) => ({ ...SIGMOID, "rope.dimension_count": config.required("rotary_dim") }),
    names: { "block_sparse_moe.e_score_correction_bias": "exp_probs_b.bias" },
  },
  bailing_moe: {
    architecture: "bailingmoe",
    expects: {
      ...{ norm_head: [false], first_k_dense_replace: [0], multi_gate: [false] },
      ...{ use_qkv_bias: [false], use_bias: [false] },
    },
    names: bailingNames,
  },
  bailing_moe_v2: {
    architecture: "bailingmoe2",
    expects: { norm_head: [false], score_function: ["sigmoid"], use_qk_norm: [true] },
    keys: (config) => ({
      ...SIGMOID,
      "rope.dimension_count": config.headSize * (config.number("partial_rotary_factor") ?? 0.5),
    }),
    names: {
      ...bailingNames,
      "attention.query_layernorm": "attn_q_norm",
      "attention.key_layernorm": "attn_k_norm",
      "mlp.gate.expert_bias": "exp_probs_b.bias",
    },
    hasGuesses: true,
  },
  ernie4_5_moe: {
    architecture: "ernie4_5-moe",
    expects: { use_bias: [false], moe_layer_end_index: [-1] },
    keys: (config) => ({
      // What its converter writes is another number that comes out the same for the models there are.
      expert_shared_feed_forward_length:
        config.required("moe_intermediate_size") * (config.number("moe_num_shared_experts") ?? 0),
    }),
  },
  factor_llm: factorLlm,
  llama4_text: llama4Text,
  llama_moe_rnn: llamaMoeRnn,
  moduleformer: moduleFormer,
  bam,
  "megatron-deepspeed-gpt": megatronMoe,
  monet,
  time_moe: timeMoe,
  "MoE++": moePlusPlusFamily,
  "upcycling-qwen2-moe": apolloMoe,
};
