/**
 * What a tensor is called in GGUF, without the layer and with an ending only where it is not that of the original; or
 * the two that it holds: the first and the last rows, or columns of [experts, in, out]; or those whose rows each head has
 * one behind the other.
 */
export type Target =
  | string
  | { readonly first: string; readonly second: string; readonly by: "rows" | "columns" }
  | { readonly transposed: string }
  | { readonly byHead: readonly string[] }
  /** One for each expert, which keeps its number. */
  | { readonly each: string };
export type Names = Readonly<Record<string, Target>>;

const gateUp = (suffix: string): Target => ({
  first: `ffn_gate${suffix}`,
  second: `ffn_up${suffix}`,
  by: "rows",
});

/** Tensors outside of layers. */
export const globalNames: Names = {
  embed_tokens: "token_embd",
  norm: "output_norm",
  lm_head: "output",
};

/** Tensors of a layer; `*` is the number of an expert. */
export const commonNames: Names = {
  input_layernorm: "attn_norm",
  post_attention_layernorm: "ffn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  "self_attn.q_norm": "attn_q_norm",
  "self_attn.k_norm": "attn_k_norm",
  "self_attn.q_a_proj": "attn_q_a",
  "self_attn.q_a_layernorm": "attn_q_a_norm",
  "self_attn.q_b_proj": "attn_q_b",
  "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
  "self_attn.kv_a_layernorm": "attn_kv_a_norm",
  "self_attn.kv_b_proj": "attn_kv_b",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
  "mlp.gate": "ffn_gate_inp",
  "mlp.gate.e_score_correction_bias": "exp_probs_b.bias",
  "mlp.moe_statics.e_score_correction_bias": "exp_probs_b.bias",
  "mlp.experts.*.gate_proj": "ffn_gate_exps",
  "mlp.experts.*.up_proj": "ffn_up_exps",
  "mlp.experts.*.down_proj": "ffn_down_exps",
  "mlp.experts.gate_up_proj": gateUp("_exps"),
  "mlp.experts.down_proj": "ffn_down_exps",
  "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
  "block_sparse_moe.gate": "ffn_gate_inp",
  "block_sparse_moe.experts.*.w1": "ffn_gate_exps",
  "block_sparse_moe.experts.*.w3": "ffn_up_exps",
  "block_sparse_moe.experts.*.w2": "ffn_down_exps",
  "block_sparse_moe.router.layer": "ffn_gate_inp",
  "block_sparse_moe.input_linear": gateUp("_exps"),
  "block_sparse_moe.output_linear": "ffn_down_exps",
  "shared_mlp.input_linear": gateUp("_shexp"),
  "shared_mlp.output_linear": "ffn_down_shexp",
  ...Object.fromEntries(
    ["mlp.shared_expert", "mlp.shared_experts"].flatMap((shared) =>
      ["gate", "up", "down"].map((part) => [`${shared}.${part}_proj`, `ffn_${part}_shexp`] as const),
    ),
  ),
};
