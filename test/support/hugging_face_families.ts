import type { FamilyFolder } from "./hugging_face.ts";

const sharedExperts = (of: string) =>
  Object.fromEntries(["gate", "up", "down"].map((part) => [`ffn_${part}_shexp`, `mlp.${of}.${part}_proj`]));
const mixtralNames = {
  ffn_gate_inp: "block_sparse_moe.gate",
  ffn_gate_exps: "block_sparse_moe.experts.*.w1",
  ffn_up_exps: "block_sparse_moe.experts.*.w3",
  ffn_down_exps: "block_sparse_moe.experts.*.w2",
};

const latentNames = {
  attn_q_a: "self_attn.q_a_proj",
  attn_q_a_norm: "self_attn.q_a_layernorm",
  attn_q_b: "self_attn.q_b_proj",
  attn_kv_a_mqa: "self_attn.kv_a_proj_with_mqa",
  attn_kv_a_norm: "self_attn.kv_a_layernorm",
  exp_probs_b: "mlp.gate.e_score_correction_bias",
};

export const qwen3moeFolder: FamilyFolder = {
  modelType: "qwen3_moe",
  config: () => ({ norm_topk_prob: true }),
};

/** Families by the name of their model in `golden/archs`. */
export const familyFolders: Readonly<Record<string, FamilyFolder>> = {
  "qwen3moe-moe": qwen3moeFolder,
  "qwen3moe-yarn": {
    ...qwen3moeFolder,
    config: (key) => ({
      norm_topk_prob: true,
      rope_scaling: {
        rope_type: "yarn",
        factor: key("rope.scaling.factor"),
        original_max_position_embeddings: key("rope.scaling.original_context_length"),
        beta_fast: key("rope.scaling.yarn_beta_fast"),
        beta_slow: key("rope.scaling.yarn_beta_slow"),
      },
    }),
  },
  "llama-dense": { modelType: "llama", isPermuted: true },
  "llama-moe": {
    modelType: "mixtral",
    isPermuted: true,
    names: mixtralNames,
    config: (key) => ({
      num_local_experts: key("expert_count"),
      num_experts: null,
      moe_intermediate_size: null,
    }),
  },
  "llama-linear": {
    modelType: "mixtral",
    isPermuted: true,
    names: mixtralNames,
    config: (key) => ({
      rope_scaling: { type: "linear", factor: key("rope.scaling.factor") },
      rope_theta: key("rope.freq_base"),
    }),
  },
  "qwen3-dense": { modelType: "qwen3" },
  "qwen2moe-moe": {
    modelType: "qwen2_moe",
    config: (key) => ({
      norm_topk_prob: false,
      shared_expert_intermediate_size: key("expert_shared_feed_forward_length"),
    }),
  },
  "olmoe-moe": { modelType: "olmoe", config: () => ({ norm_topk_prob: false, clip_qkv: null }) },
  "granitemoe-moe": {
    modelType: "granitemoeshared",
    isPermuted: true,
    names: {
      ffn_gate_inp: "block_sparse_moe.router.layer",
      ffn_down_exps: "block_sparse_moe.output_linear",
      ffn_down_shexp: "shared_mlp.output_linear",
    },
    joined: {
      "block_sparse_moe.input_linear": ["ffn_gate_exps", "ffn_up_exps"],
      "shared_mlp.input_linear": ["ffn_gate_shexp", "ffn_up_shexp"],
    },
    config: (key) => ({
      moe_intermediate_size: null,
      num_local_experts: key("expert_count"),
      embedding_multiplier: key("embedding_scale") || 1,
      residual_multiplier: key("residual_scale") || 1,
      attention_multiplier: key("attention.scale") || key("attention.key_length") ** -0.5,
      logits_scaling: key("logit_scale") || 1,
      shared_intermediate_size: key("expert_shared_feed_forward_length"),
    }),
  },
  "deepseek-moe": {
    modelType: "deepseek",
    isPermuted: true,
    names: sharedExperts("shared_experts"),
    config: (key) => ({
      n_routed_experts: key("expert_count"),
      n_shared_experts: key("expert_shared_count"),
      first_k_dense_replace: key("leading_dense_block_count"),
      routed_scaling_factor: key("expert_weights_scale") || 1,
      norm_topk_prob: false,
    }),
  },
  "bailingmoe-moe": {
    modelType: "bailing_moe",
    isPermuted: true,
    names: {
      ...sharedExperts("shared_experts"),
      token_embd: "model.word_embeddings",
      attn_output: "attention.dense",
    },
    joined: { "attention.query_key_value": ["attn_q", "attn_k", "attn_v"] },
    config: (key) => ({
      num_shared_experts: key("expert_shared_count"),
      norm_topk_prob: Boolean(key("expert_weights_norm")),
      first_k_dense_replace: 0,
      norm_head: false,
    }),
  },
  "ernie4_5-moe-moe": {
    modelType: "ernie4_5_moe",
    names: {
      ...sharedExperts("shared_experts"),
      exp_probs_b: "mlp.moe_statics.e_score_correction_bias",
    },
    config: (key) => ({
      moe_num_experts: key("expert_count"),
      num_experts: null,
      moe_k: key("expert_used_count"),
      num_experts_per_tok: null,
      moe_layer_interval: key("interleave_moe_layer_step"),
      moe_layer_start_index: key("leading_dense_block_count"),
      moe_num_shared_experts:
        key("expert_shared_feed_forward_length") /
        (key("expert_feed_forward_length") || key("feed_forward_length")),
    }),
  },
  "deepseek2-moe": {
    modelType: "deepseek_v3",
    names: { ...sharedExperts("shared_experts"), ...latentNames },
    // GGUF files have them apart, one transposed.
    joined: { "self_attn.kv_b_proj": ["attn_k_b", "attn_v_b"] },
    transposed: ["attn_k_b"],
    config: (key) => ({
      head_dim: null,
      qk_nope_head_dim: key("attention.key_length_mla") - key("rope.dimension_count"),
      qk_rope_head_dim: key("rope.dimension_count"),
      v_head_dim: key("attention.value_length_mla"),
      q_lora_rank: key("attention.q_lora_rank"),
      kv_lora_rank: key("attention.kv_lora_rank"),
      n_routed_experts: key("expert_count"),
      n_shared_experts: key("expert_shared_count"),
      n_group: 1,
      topk_group: 1,
      first_k_dense_replace: key("leading_dense_block_count"),
      norm_topk_prob: Boolean(key("expert_weights_norm")),
      routed_scaling_factor: key("expert_weights_scale") || 1,
      scoring_func: "sigmoid",
      topk_method: "noaux_tc",
    }),
  },
  "llama4-moe": {
    modelType: "llama4_text",
    names: {
      ...Object.fromEntries(
        ["gate", "up", "down"].flatMap((part) => [
          [`ffn_${part}`, `feed_forward.${part}_proj`],
          [`ffn_${part}_shexp`, `feed_forward.shared_expert.${part}_proj`],
        ]),
      ),
      ffn_gate_inp: "feed_forward.router",
      ffn_gate_up_exps: "feed_forward.experts.gate_up_proj",
      ffn_down_exps: "feed_forward.experts.down_proj",
    },
    joined: { "feed_forward.experts.gate_up_proj": ["ffn_gate_exps", "ffn_up_exps"] },
    transposed: ["feed_forward.experts.gate_up_proj", "feed_forward.experts.down_proj"],
    config: (key) => ({
      num_experts: null,
      num_local_experts: key("expert_count"),
      moe_intermediate_size: null,
      intermediate_size_mlp: key("feed_forward_length"),
      intermediate_size: key("expert_feed_forward_length") || key("feed_forward_length"),
      interleave_moe_layer_step: key("interleave_moe_layer_step"),
      attention_chunk_size: 8192,
    }),
  },
};
