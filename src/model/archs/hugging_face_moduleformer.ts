import type { Config } from "./hugging_face_config.ts";
import type { Family } from "./hugging_face_family.ts";
import { ACTIVATIONS, type Keys } from "./hugging_face_keys.ts";
import type { Names } from "./hugging_face_names.ts";

/** Nothing in the model ends with a position: its authors' code takes a text of any length. */
const CONTEXT_TOKENS = 1 << 20;
/** What PyTorch's LayerNorm has; `layer_norm_epsilon` is read by nothing. */
const EPSILON = 1e-5;

const GATES: readonly string[] = ["mlp", "linear", "gmm"];

/** A router of either block, whatever its kind. */
const routerNames = (module: string, block: string): Names => ({
  [`${module}.gate.w_gate`]: `${block}_gate_inp`,
  [`${module}.gate.w_gate.0`]: `${block}_gate_inp_0`,
  [`${module}.gate.w_gate.3`]: `${block}_gate_inp_3`,
  [`${module}.gate.expert_centroids`]: `${block}_gate_centroids`,
  [`${module}.gate.temperature`]: `${block}_gate_temperature`,
});

/** ModuleFormer as its authors published it. What a configuration leaves out is as their class has it. */
export const moduleFormer: Family = {
  architecture: "moduleformer",
  settings: (config) => ({
    hidden_size: config.number("n_embd", "hidden_size") ?? 1024,
    num_hidden_layers: config.number("n_layer", "num_hidden_layers") ?? 24,
    num_attention_heads: config.number("n_head", "num_attention_heads") ?? 8,
    max_position_embeddings: CONTEXT_TOKENS,
    tie_word_embeddings: config.flag("tie_word_embeddings") ?? false,
  }),
  activations: "any",
  keys: moduleKeys,
  names: {
    wte: "token_embd",
    ln_f: "output_norm",
    ln_1: "attn_norm",
    "attn.q_proj.experts": { transposed: "attn_q_exps" },
    "attn.q_proj.output_experts": { transposed: "attn_output_exps" },
    "attn.k_proj": "attn_k",
    "attn.v_proj": "attn_v",
    ...routerNames("attn.q_proj", "attn"),
    ln_2: "ffn_norm",
    "mlpf.experts": { transposed: "ffn_up_exps" },
    "mlpf.output_experts": { transposed: "ffn_down_exps" },
    ...routerNames("mlpf", "ffn"),
  },
  // A mask and the ones of a cumulative sum, made anew for each text.
  unused: /\.attn\.(mask|cum_weight)$/,
};

/** It need not be the width over the heads. */
function headSize(config: Config): number {
  const [hidden, heads] = [config.number("att_hidden") ?? 512, config.required("num_attention_heads")];
  if (hidden % heads === 0) return hidden / heads;
  throw config.bad(`att_hidden is ${hidden}, which n_head ${heads} does not divide`, { hidden, heads });
}

function moduleKeys(config: Config): Keys {
  const gate = config.text("gate_type") ?? "mlp";
  if (!GATES.includes(gate)) throw config.unsupported(`gate_type ${gate}`, `gate_type ${GATES.join(" or ")}`);
  const named = config.text("activation_function") ?? "gelu_new";
  const activation = Object.hasOwn(ACTIVATIONS, named) ? ACTIVATIONS[named] : undefined;
  if (activation === undefined) {
    const known = Object.keys(ACTIVATIONS).join(", ");
    throw config.unsupported(`activation_function ${named}`, `one of these: ${known}`);
  }
  return {
    "attention.layer_norm_epsilon": EPSILON,
    "attention.key_length": headSize(config),
    "attention.expert_count": config.number("n_att_experts") ?? 32,
    "attention.expert_used_count": config.number("k_att") ?? 2,
    expert_count: config.number("n_mlp_experts") ?? 32,
    expert_used_count: config.number("k_mlp") ?? 2,
    expert_feed_forward_length: config.number("ffd_hidden") ?? 2048,
    "expert.activation": activation,
    "router.gate": gate,
    "router.length": config.number("gating_size") ?? 256,
  };
}
