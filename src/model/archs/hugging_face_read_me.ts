import type { Config } from "./hugging_face_config.ts";
import type { Family } from "./hugging_face_family.ts";
import type { Keys } from "./hugging_face_keys.ts";
import type { Names } from "./hugging_face_names.ts";

const MOST_BLOCKS = 1 << 10;

/** `hidden_act_predictor`, as transformers names functions. */
const ACTIVATIONS: Readonly<Record<string, string>> = {
  relu: "relu",
  silu: "silu",
  swish: "silu",
  gelu: "gelu-erf",
  gelu_new: "gelu",
  gelu_pytorch_tanh: "gelu",
  tanh: "tanh",
  sigmoid: "sigmoid",
};

/** Read-ME as its authors' code saves it; their class is Llama's, and `add_cluster_predictor` tells it. */
export const readMe: Family = {
  architecture: "read-me",
  expects: { pretraining_tp: [1], train_predictor: [false] },
  keys: routerKeys,
  names: namesOf,
  rename: (name) => name.replace(/\.moe\.(gate|up|down)_proj_(\d+)\./, ".moe.experts.$2.$1_proj."),
};

function routerKeys(config: Config): Keys {
  const size = config.required("inter_dim");
  config.expect("embedding_dim", [size]);
  const blocks = config.required("n_layer");
  if (!Number.isInteger(blocks) || blocks < 0 || blocks > MOST_BLOCKS) {
    throw config.bad(`n_layer is ${blocks}, not a whole number up to ${MOST_BLOCKS}`, { most: MOST_BLOCKS });
  }
  const told = config.text("hidden_act_predictor") ?? "none";
  const activation = Object.hasOwn(ACTIVATIONS, told) ? ACTIVATIONS[told] : undefined;
  if (activation === undefined) {
    throw config.unsupported(`hidden_act_predictor ${told}`, Object.keys(ACTIVATIONS).join(", "));
  }
  return {
    expert_count: config.required("N_cluster"),
    expert_used_count: 1,
    "router.input": "token",
    "router.embedding_length": size,
    "router.block_count": blocks,
    "router.head_count": config.required("n_head"),
    "router.normalizer": config.required("normalizer"),
    "router.activation": activation,
    "router.attends": !(config.flag("nonautoregressive") ?? false),
  };
}

function namesOf(config: Config): Names {
  const parts = {
    ...{ input_layernorm: "attn_norm", post_attention_layernorm: "ffn_norm", q_proj: "q", k_proj: "k" },
    ...{ v_proj: "v", o_proj: "output", proj_1: "up", proj_2: "down" },
  };
  const blocks = Array.from({ length: config.required("n_layer") }, (_, i) =>
    Object.entries(parts).map(
      ([part, name]) => [`cluster_predictor.${part}_${i}`, `router_${name}_${i}`] as const,
    ),
  );
  return {
    ...Object.fromEntries(blocks.flat()),
    "cluster_predictor.embed": "router_embd",
    "cluster_predictor.out_layernorm": "router_norm",
    "cluster_predictor.proj_out": "router_gate",
    ...Object.fromEntries(
      ["gate", "up", "down"].flatMap((part) => [
        [`moe.experts.*.${part}_proj`, `ffn_${part}_exps`],
        [`moe.${part}_proj_residual`, `ffn_${part}_shexp`],
      ]),
    ),
  };
}
