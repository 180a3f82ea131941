/** Small random Read-ME models as folders, and what they compute in float64, as the authors' code has it for a prompt. */
import {
  activate,
  attention,
  combine,
  embed,
  expertDown,
  expertGateUp,
  glu,
  type Matrix,
  matmul,
  rmsnorm,
  rope,
  ropeTable,
  route,
} from "../reference/index.ts";
import { filesOf, textFiles } from "./hugging_face.ts";
import { normals, seeded } from "./random.ts";

const [WIDTH, HEADS, LAYERS, VOCABULARY] = [64, 2, 3, 96];
const [EXPERTS, HIDDEN, SIZE] = [7, 32, 64];
const BASE = 5000;

export interface ReadMeOptions {
  readonly blocks: number;
  readonly heads?: number;
  readonly normalizer?: number;
  readonly activation?: "relu" | "silu";
  readonly isNonautoregressive?: boolean;
  /** Rows of what the experts of a layer have in common, beside them. */
  readonly residual?: number;
}

type Tensors = ReadonlyMap<
  string,
  { readonly shape: readonly number[]; readonly values: Float32Array<ArrayBuffer> }
>;

const config = (options: ReadMeOptions) => ({
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  vocab_size: VOCABULARY,
  max_position_embeddings: 64,
  hidden_size: WIDTH,
  intermediate_size: 96,
  num_hidden_layers: LAYERS,
  num_attention_heads: HEADS,
  num_key_value_heads: HEADS,
  hidden_act: "silu",
  rms_norm_eps: 1e-5,
  pretraining_tp: 1,
  rope_theta: BASE,
  rope_scaling: null,
  tie_word_embeddings: false,
  add_cluster_predictor: true,
  train_predictor: false,
  embedding_dim: SIZE,
  inter_dim: SIZE,
  N_cluster: EXPERTS,
  hidden_act_predictor: options.activation ?? "relu",
  max_position_embeddings_predictor: 4096,
  n_layer: options.blocks,
  n_head: options.heads ?? 1,
  normalizer: options.normalizer ?? 1,
  nonautoregressive: options.isNonautoregressive ?? false,
});

function tensorsOf({ blocks, isNonautoregressive, residual = 0 }: ReadMeOptions): Tensors {
  const random = seeded(41);
  const tensors = new Map<string, { shape: readonly number[]; values: Float32Array<ArrayBuffer> }>();
  const add = (name: string, scale: number, shape: readonly number[], mean = 0) => {
    const count = shape.reduce((all, n) => all * n, 1);
    tensors.set(name, { shape, values: normals(random, count, scale).map((value) => mean + value) });
  };
  add("model.embed_tokens.weight", 0.5, [VOCABULARY, WIDTH]);
  for (let l = 0; l < LAYERS; l++) {
    const at = (name: string) => `model.layers.${l}.${name}.weight`;
    for (const norm of ["input_layernorm", "post_attention_layernorm"]) add(at(norm), 0.1, [WIDTH], 1);
    for (const part of ["q", "k", "v", "o"]) add(at(`self_attn.${part}_proj`), 0.1, [WIDTH, WIDTH]);
    const experts = Array.from({ length: EXPERTS }, (_, e) => [String(e), HIDDEN] as const);
    for (const [name, hidden] of residual > 0 ? [...experts, ["residual", residual] as const] : experts) {
      add(at(`moe.gate_proj_${name}`), 0.15, [hidden, WIDTH]);
      add(at(`moe.up_proj_${name}`), 0.15, [hidden, WIDTH]);
      add(at(`moe.down_proj_${name}`), 0.15, [WIDTH, hidden]);
    }
  }
  add("model.norm.weight", 0.1, [WIDTH], 1);
  add("lm_head.weight", 0.1, [VOCABULARY, WIDTH]);
  add("cluster_predictor.embed.weight", 0.5, [VOCABULARY, SIZE]);
  for (let i = 0; i < blocks; i++) {
    const own = ["q_proj", "k_proj", "v_proj", "o_proj"];
    for (const part of [...(isNonautoregressive ? [] : own), "proj_1", "proj_2"]) {
      add(`cluster_predictor.${part}_${i}.weight`, 0.15, [SIZE, SIZE]);
      add(`cluster_predictor.${part}_${i}.bias`, 0.1, [SIZE]);
    }
    for (const norm of [...(isNonautoregressive ? [] : ["input_layernorm"]), "post_attention_layernorm"]) {
      add(`cluster_predictor.${norm}_${i}.weight`, 0.1, [SIZE], 1);
    }
  }
  add("cluster_predictor.out_layernorm.weight", 0.1, [SIZE], 1);
  add("cluster_predictor.proj_out.weight", 0.3, [EXPERTS, SIZE]);
  add("cluster_predictor.proj_out.bias", 0.1, [EXPERTS]);
  return tensors;
}

/** The files of the folder. @param changes to its configuration */
export function readMeFolder(
  options: ReadMeOptions,
  changes: Readonly<Record<string, unknown>> = {},
): File[] {
  const entries = [...tensorsOf(options)].map(([name, { shape, values }]) => {
    return { name, dtype: "F32", shape, data: new Uint8Array(values.buffer) };
  });
  return [
    ...filesOf(entries, 1),
    ...textFiles({ "config.json": JSON.stringify({ ...config(options), ...changes }) }),
  ];
}

/** The expert of every token. */
function clusters(all: Tensors, options: ReadMeOptions, tokens: readonly number[]) {
  const at = (name: string) => `cluster_predictor.${name}`;
  const linear = (name: string) => ({ ...matrix(all, at(name)), bias: vector(all, at(`${name}.bias`)) });
  const norm = (x: Float64Array, name: string) => rmsnorm(x, vector(all, at(`${name}.weight`)), 1e-6);
  const { heads = 1, normalizer = 1, activation = "relu" } = options;
  const positions = tokens.map((_, i) => i);
  const turned = {
    ...ropeTable({ base: BASE, dims: SIZE / heads }),
    positions,
    variant: "neox",
    heads,
  } as const;
  let x = embed(vector(all, at("embed.weight")), SIZE, tokens);
  for (let i = 0; i < options.blocks; i++) {
    if (!options.isNonautoregressive) {
      const a = norm(x, `input_layernorm_${i}`);
      const [q, k] = ["q", "k"].map((part) => rope(matmul(a, linear(`${part}_proj_${i}`)), turned));
      const v = matmul(a, linear(`v_proj_${i}`));
      const shape = { heads, kvHeads: heads, positions, scale: 1 / normalizer };
      const mixed = attention(q as Float64Array, k as Float64Array, v, shape);
      x = matmul(mixed, linear(`o_proj_${i}`), x);
    }
    const f = matmul(norm(x, `post_attention_layernorm_${i}`), linear(`proj_1_${i}`));
    const hidden = f.map((value) => (activation === "relu" ? Math.max(value, 0) : activate({}, value, 1)));
    x = matmul(hidden, linear(`proj_2_${i}`), x);
  }
  const logits = matmul(norm(x, "out_layernorm"), linear("proj_out"));
  return route(logits, { experts: EXPERTS, topK: 1, weightRule: "one" });
}

/** Logits of every position, [tokens, vocabulary]. */
export function readMeLogits(options: ReadMeOptions, tokens: readonly number[]): Float64Array {
  const all = tensorsOf(options);
  const positions = tokens.map((_, i) => i);
  const size = WIDTH / HEADS;
  const turned = {
    ...ropeTable({ base: BASE, dims: size }),
    positions,
    variant: "neox",
    heads: HEADS,
  } as const;
  const chosen = clusters(all, options, tokens);
  let x = embed(vector(all, "model.embed_tokens.weight"), WIDTH, tokens);
  for (let l = 0; l < LAYERS; l++) {
    const at = (name: string) => `model.layers.${l}.${name}`;
    const a = rmsnorm(x, vector(all, at("input_layernorm.weight")), 1e-5);
    const [q, k] = ["q", "k"].map((part) =>
      rope(matmul(a, matrix(all, at(`self_attn.${part}_proj`))), turned),
    );
    const v = matmul(a, matrix(all, at("self_attn.v_proj")));
    const shape = { heads: HEADS, kvHeads: HEADS, positions, scale: 1 / Math.sqrt(size) };
    const mixed = attention(q as Float64Array, k as Float64Array, v, shape);
    x = matmul(mixed, matrix(all, at("self_attn.o_proj")), x);

    const f = rmsnorm(x, vector(all, at("post_attention_layernorm.weight")), 1e-5);
    const each = (part: string, rows: number) => {
      const names = Array.from({ length: EXPERTS }, (_, e) => at(`moe.${part}_proj_${e}.weight`));
      const values = names.flatMap((name) => [...vector(all, name)]);
      return { values, rows, cols: values.length / (EXPERTS * rows) };
    };
    const hidden = expertGateUp(f, each("gate", HIDDEN), each("up", HIDDEN), chosen.experts);
    const routed = combine(expertDown(hidden, each("down", WIDTH), chosen.experts), chosen.weights, 1);
    const common = options.residual ? residualExpert(all, at, f, options.residual) : undefined;
    x = x.map((value, i) => value + (routed[i] as number) + (common?.[i] ?? 0));
  }
  return matmul(rmsnorm(x, vector(all, "model.norm.weight"), 1e-5), matrix(all, "lm_head"));
}

function residualExpert(all: Tensors, at: (name: string) => string, f: Float64Array, rows: number) {
  const stacked = ["gate", "up"].flatMap((part) => [...vector(all, at(`moe.${part}_proj_residual.weight`))]);
  const both = matmul(f, { values: stacked, rows: 2 * rows, cols: WIDTH });
  return matmul(glu(both, rows, false), matrix(all, at("moe.down_proj_residual")));
}

function vector(all: Tensors, name: string): Float32Array {
  const found = all.get(name);
  if (!found) throw new Error(`no tensor ${name}`);
  return found.values;
}

function matrix(all: Tensors, name: string): Matrix {
  const values = vector(all, `${name}.weight`);
  const cols = all.get(`${name}.weight`)?.shape[1] ?? 0;
  return { values, rows: values.length / cols, cols };
}
