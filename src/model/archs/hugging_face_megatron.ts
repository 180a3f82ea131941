import type { Config } from "./hugging_face_config.ts";
import type { Family } from "./hugging_face_family.ts";
import { ACTIVATIONS, activationOf, type Keys } from "./hugging_face_keys.ts";
import type { Names } from "./hugging_face_names.ts";

const MOST_LAYERS = 4096;

/** The two matrices of an MLP. */
const mlp = (from: string, suffix: string): Names => ({
  [`${from}dense_h_to_4h`]: `ffn_up${suffix}`,
  [`${from}dense_4h_to_h`]: `ffn_down${suffix}`,
});
const attention = (name: string): Names => ({
  [`${name}.query_key_value`]: { byHead: ["attn_q", "attn_k", "attn_v"] },
  [`${name}.dense`]: "attn_output",
});

/**
 * GPT with experts as Megatron-DeepSpeed saves it: DeepSpeed's MoE layer, with or without the residual MLP, or Megatron's own
 * switch. Its checkpoints have no `config.json`; what one has to say is under the names of Megatron's own options.
 */
export const megatronMoe: Family = {
  architecture: "megatron-moe",
  activations: Object.keys(ACTIVATIONS),
  expects: {
    swiglu: [false],
    squared_relu: [false],
    add_bias_linear: [true, false],
    normalization: ["layernorm", "LayerNorm"],
    apply_layernorm_1p: [false],
    apply_residual_connection_post_layernorm: [false],
    position_embedding_type: ["learned_absolute"],
    use_rotary_position_embeddings: [false],
  },
  keys,
  names: {
    "language_model.embedding.word_embeddings": "token_embd",
    "language_model.embedding.position_embeddings": "position_embd",
    "language_model.output_layer": "output",
    final_layernorm: "output_norm",
    ...attention("attention"),
    ...attention("self_attention"),
    ...mlp("mlp.", ""),
    "mlp.deepspeed_moe.gate.wg": "ffn_gate_inp",
    ...mlp("mlp.deepspeed_moe.experts.deepspeed_experts.*.", "_exps"),
    ...mlp("mlp.mlp.", "_shexp"),
    "mlp.coefficient": "ffn_mix",
    "mlp.router": "ffn_gate_inp",
    ...mlp("mlp.experts.*.", "_exps"),
  },
};

function keys(config: Config): Keys {
  const heads = config.required("num_attention_heads");
  config.expect("num_key_value_heads", [heads]);
  const kind = config.text("mlp_type") ?? "standard";
  if (kind !== "standard" && kind !== "residual") {
    throw config.unsupported(`mlp_type ${kind}`, "mlp_type standard or residual");
  }
  return {
    feed_forward_length:
      config.number("ffn_hidden_size", "intermediate_size") ?? 4 * config.required("hidden_size"),
    "attention.layer_norm_epsilon": config.number("layernorm_epsilon", "layer_norm_eps") ?? 1e-5,
    activation: activationOf(config, isExact(config) ? "gelu" : "gelu_fast"),
    expert_used_count: config.number("topk", "num_experts_per_tok") ?? 1,
    expert_counts: expertCounts(config),
    expert_residual: kind === "residual",
  };
}

/** Megatron's fused bias and GELU, which is on unless turned off, is by tanh; so is OpenAI's. */
const isExact = (config: Config) => config.flag("bias_gelu_fusion") === false && !config.flag("openai_gelu");

/** Of each layer; 1 is a dense one. A list has those of the layers with experts in turn, which are every so many. */
function expertCounts(config: Config): number[] {
  const layers = config.required("num_hidden_layers");
  const every = config.number("expert_interval") ?? 2;
  if (
    !Number.isInteger(layers) ||
    layers < 1 ||
    layers > MOST_LAYERS ||
    !Number.isInteger(every) ||
    every < 1
  ) {
    throw config.bad(`it has ${layers} layers, experts in every ${every}`, { layers, every });
  }
  const said = config.value("num_experts") ?? 1;
  const sites = Math.floor(layers / every);
  const counts =
    Array.isArray(said) && said.length > 1 ? said : new Array<unknown>(sites).fill([said].flat()[0]);
  const isSound = counts.every((count) => Number.isInteger(count) && count >= 1);
  if (!isSound || counts.length !== sites) {
    throw config.bad(`num_experts is ${JSON.stringify(said)}, not counts of ${sites} layers`, {
      layers: sites,
    });
  }
  return Array.from({ length: layers }, (_, l) => ((l + 1) % every === 0 ? counts[(l + 1) / every - 1] : 1));
}
