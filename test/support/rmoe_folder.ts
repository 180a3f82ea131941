/** Small random RMoE models as folders, and what they compute in float64, as the authors' code has it. */
import {
  type ActivationRule,
  attention,
  combine,
  embed,
  expertDown,
  expertGateUp,
  type Matrix,
  matmul,
  rmsnorm,
  rope,
  ropeTable,
  route,
} from "../reference/index.ts";
import { recurrentCell } from "../reference/recurrent.ts";
import { floatFolder } from "./hugging_face.ts";
import { normals, seeded } from "./random.ts";

const [WIDTH, HEADS, KV_HEADS, LAYERS, VOCABULARY] = [64, 2, 1, 3, 96];
const [EXPERTS, TOP_K, HIDDEN, SHARED] = [6, 2, 32, 64];
const STATE = 32;
const HEAD = WIDTH / HEADS;

export interface RmoeOptions {
  /** Without a cell the router is one matrix. */
  readonly cell: "gru" | "rnn" | "none";
  /** Length of the cell's state; 32 unless told. */
  readonly state?: number;
  /** Weights of the routed experts and of the shared one. */
  readonly shared?: { readonly routed: number; readonly shared: number };
  readonly bias?: boolean;
  /** In place of SiLU, without approximation. */
  readonly isGelu?: boolean;
  /** Of q, k, v and the output. */
  readonly attentionBias?: boolean;
}

interface Tensor {
  readonly shape: readonly number[];
  readonly values: Float32Array<ArrayBuffer>;
}
type Tensors = ReadonlyMap<string, Tensor>;

export const rmoeConfig = ({
  cell,
  state = STATE,
  shared,
  bias = false,
  isGelu = false,
  attentionBias = false,
}: RmoeOptions) => ({
  architectures: ["LlamaForCausalLM"],
  model_type: "llama_moe_rnn",
  vocab_size: VOCABULARY,
  max_position_embeddings: 64,
  hidden_size: WIDTH,
  intermediate_size: 160,
  num_hidden_layers: LAYERS,
  num_attention_heads: HEADS,
  num_key_value_heads: KV_HEADS,
  hidden_act: isGelu ? "gelu" : "silu",
  attention_bias: attentionBias,
  rms_norm_eps: 1e-5,
  pretraining_tp: 1,
  rope_theta: 10000,
  rope_scaling: null,
  num_experts_per_tok: TOP_K,
  num_local_experts: EXPERTS,
  moe_num_layers: LAYERS,
  moe_expert_intermediate_size: HIDDEN,
  add_moe_share_expert: shared !== undefined,
  moe_share_expert_intermediate_size: shared ? SHARED : null,
  moe_weight: shared?.routed ?? 0.5,
  share_weight: shared?.shared ?? 0.5,
  add_moe_bias: bias,
  moe_router_type: cell,
  moe_router_rnn_hidden_size: state,
  tie_word_embeddings: false,
});

const GATES = { gru: ["r", "z", "n"], rnn: ["n"], none: [] };
const gatesOf = (cell: RmoeOptions["cell"]): readonly string[] => GATES[cell];

function tensorsOf({ cell, state = STATE, shared, bias, attentionBias }: RmoeOptions): Tensors {
  const random = seeded(95);
  const tensors = new Map<string, Tensor>();
  const add = (name: string, scale: number, shape: readonly number[], mean = 0) => {
    const count = shape.reduce((all, n) => all * n, 1);
    tensors.set(name, { shape, values: normals(random, count, scale).map((value) => mean + value) });
  };
  add("model.embed_tokens.weight", 0.5, [VOCABULARY, WIDTH]);
  for (const gate of gatesOf(cell)) {
    for (const of of ["i", "h"]) {
      add(`model.rnn_router.weight_${of}${gate}`, 0.25, [state, state]);
      add(`model.rnn_router.bias_${of}${gate}`, 0.2, [state]);
    }
  }
  for (let l = 0; l < LAYERS; l++) {
    const at = (name: string) => `model.layers.${l}.${name}`;
    for (const norm of ["input_layernorm", "post_attention_layernorm"])
      add(at(`${norm}.weight`), 0.1, [WIDTH], 1);
    for (const [part, rows] of [
      ["q", WIDTH],
      ["k", KV_HEADS * HEAD],
      ["v", KV_HEADS * HEAD],
      ["o", WIDTH],
    ] as const) {
      add(at(`self_attn.${part}_proj.weight`), 0.1, [rows, WIDTH]);
      if (attentionBias) add(at(`self_attn.${part}_proj.bias`), 0.3, [rows]);
    }
    if (cell === "none") add(at("block_sparse_moe.gate.weight"), 0.2, [EXPERTS, WIDTH]);
    else {
      add(at("block_sparse_moe.weight1"), 0.15, [state, WIDTH]);
      add(at("block_sparse_moe.weight2"), 0.5, [EXPERTS, state]);
    }
    if (bias) add(at("block_sparse_moe.bias"), 0.2, [WIDTH]);
    for (let e = 0; e < EXPERTS; e++) {
      add(at(`block_sparse_moe.experts.${e}.w1.weight`), 0.15, [HIDDEN, WIDTH]);
      add(at(`block_sparse_moe.experts.${e}.w2.weight`), 0.15, [WIDTH, HIDDEN]);
      add(at(`block_sparse_moe.experts.${e}.w3.weight`), 0.15, [HIDDEN, WIDTH]);
    }
    if (!shared) continue;
    add(at("mlp_share.gate_proj.weight"), 0.15, [SHARED, WIDTH]);
    add(at("mlp_share.up_proj.weight"), 0.15, [SHARED, WIDTH]);
    add(at("mlp_share.down_proj.weight"), 0.15, [WIDTH, SHARED]);
  }
  add("model.norm.weight", 0.1, [WIDTH], 1);
  add("lm_head.weight", 0.1, [VOCABULARY, WIDTH]);
  return tensors;
}

/** The files of the folder. @param config changes to it */
export function rmoeFolder(options: RmoeOptions, config: Readonly<Record<string, unknown>> = {}): File[] {
  return floatFolder(tensorsOf(options), { ...rmoeConfig(options), ...config });
}

/** Logits of every position, [tokens, vocabulary]. */
export function rmoeLogits(options: RmoeOptions, tokens: readonly number[]): Float64Array {
  const all = tensorsOf(options);
  const positions = tokens.map((_, i) => i);
  const turned = { ...ropeTable({ base: 10000, dims: HEAD }), positions, variant: "neox" } as const;
  let x = embed(vector(all, "model.embed_tokens.weight"), WIDTH, tokens);
  const rule: ActivationRule = { activation: options.isGelu ? "gelu-erf" : "silu" };
  let state: Float64Array = new Float64Array(tokens.length * (options.state ?? STATE));
  for (let l = 0; l < LAYERS; l++) {
    const at = (name: string) => `model.layers.${l}.${name}`;
    const linear = (name: string) => matrix(all, [at(name)]);
    const projection = (part: string) => {
      const weight = linear(`self_attn.${part}_proj.weight`);
      if (!options.attentionBias) return weight;
      return { ...weight, bias: [...vector(all, at(`self_attn.${part}_proj.bias`))] };
    };
    const a = rmsnorm(x, vector(all, at("input_layernorm.weight")), 1e-5);
    const q = rope(matmul(a, projection("q")), { ...turned, heads: HEADS });
    const k = rope(matmul(a, projection("k")), { ...turned, heads: KV_HEADS });
    const v = matmul(a, projection("v"));
    const shape = { heads: HEADS, kvHeads: KV_HEADS, positions, scale: 1 / Math.sqrt(HEAD) };
    x = matmul(attention(q, k, v, shape), projection("o"), x);

    const f = rmsnorm(x, vector(all, at("post_attention_layernorm.weight")), 1e-5);
    if (options.cell !== "none") {
      state = advanced(all, options, matmul(f, linear("block_sparse_moe.weight1")), state);
    }
    const logits =
      options.cell === "none"
        ? matmul(f, linear("block_sparse_moe.gate.weight"))
        : matmul(state, linear("block_sparse_moe.weight2"));
    const chosen = route(logits, { experts: EXPERTS, topK: TOP_K, weightRule: "renorm" });
    const expert = (part: string) =>
      matrix(
        all,
        Array.from({ length: EXPERTS }, (_, e) => at(`block_sparse_moe.experts.${e}.${part}.weight`)),
      );
    const hidden = expertGateUp(f, each(expert("w1")), each(expert("w3")), chosen.experts, rule);
    const rows = expertDown(hidden, each(expert("w2")), chosen.experts);
    const routed = combine(rows, chosen.weights, TOP_K);
    const bias = options.bias ? vector(all, at("block_sparse_moe.bias")) : new Float32Array(WIDTH);
    const { routed: weight, shared: shareWeight } = options.shared ?? { routed: 1, shared: 0 };
    const share = options.shared ? sharedExpert(all, at, f, rule) : new Float64Array(x.length);
    x = x.map((value, i) => {
      const sum = (routed[i] as number) + (bias[i % WIDTH] as number);
      return value + weight * sum + shareWeight * (share[i] as number);
    });
  }
  return matmul(rmsnorm(x, vector(all, "model.norm.weight"), 1e-5), matrix(all, ["lm_head.weight"]));
}

function advanced(
  all: Tensors,
  { cell, state: size = STATE }: RmoeOptions,
  x: Float64Array,
  state: Float64Array,
) {
  const products = (of: "i" | "h", input: Float64Array) => {
    const names = (part: string) => gatesOf(cell).map((gate) => `model.rnn_router.${part}_${of}${gate}`);
    const bias = names("bias").flatMap((name) => [...vector(all, name)]);
    return matmul(input, { ...matrix(all, names("weight")), bias });
  };
  const kind = cell === "gru" ? "gru" : "tanh";
  return recurrentCell(kind, size, { fromInput: products("i", x), fromState: products("h", state) }, state);
}

function sharedExpert(all: Tensors, at: (name: string) => string, f: Float64Array, rule: ActivationRule) {
  const everyToken = new Array<number>(f.length / WIDTH).fill(0);
  const part = (name: string) => {
    const { values, rows, cols } = matrix(all, [at(`mlp_share.${name}_proj.weight`)]);
    return { values, rows, cols };
  };
  return expertDown(expertGateUp(f, part("gate"), part("up"), everyToken, rule), part("down"), everyToken);
}

function vector(all: Tensors, name: string): Float32Array {
  const found = all.get(name);
  if (!found) throw new Error(`no tensor ${name}`);
  return found.values;
}

/** The rows of these tensors, one below the other. */
function matrix(all: Tensors, names: readonly string[]): Matrix {
  const values = names.flatMap((name) => [...vector(all, name)]);
  const cols = all.get(names[0] as string)?.shape[1] ?? 0;
  return { values, rows: values.length / cols, cols };
}

/** A matrix of all experts as one of each. */
const each = ({ values, rows, cols }: Matrix) => ({ values, rows: rows / EXPERTS, cols });
