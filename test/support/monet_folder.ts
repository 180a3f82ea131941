/** Small random Monet models as folders, and what they compute in float64, from the formulas of the paper and its code. */
import {
  attention,
  embed,
  type Matrix,
  matmul,
  rmsnorm,
  rope,
  ropeTable,
  type Values,
} from "../reference/index.ts";
import { normalBelow } from "../reference/normal.ts";
import { byKey, keyWeights } from "../reference/product_key.ts";
import { filesOf, textFiles } from "./hugging_face.ts";
import { normals, seeded } from "./random.ts";

const [WIDTH, HEADS, KV_HEADS, LAYERS, VOCABULARY] = [64, 2, 1, 4, 96];
const HEAD = WIDTH / HEADS;

export interface MonetOptions {
  readonly decompose: "horizontal" | "vertical";
  /** Of the routers. */
  readonly heads: number;
  readonly keys: number;
  /** As the configuration has it: vertically of both axes together. */
  readonly dim: number;
  readonly topK: number;
  /** Layers that a router serves. */
  readonly groups: number;
  readonly act?: "relu2" | "relu" | "gelu" | "silu";
  readonly attentionBias?: boolean;
  readonly tied?: boolean;
}

interface Tensor {
  readonly shape: readonly number[];
  readonly values: Float32Array<ArrayBuffer>;
}
type Tensors = ReadonlyMap<string, Tensor>;

const monetConfig = (options: MonetOptions) => ({
  architectures: ["MonetForCausalLM"],
  model_type: "monet",
  vocab_size: VOCABULARY,
  max_position_embeddings: 64,
  hidden_size: WIDTH,
  intermediate_size: null,
  num_hidden_layers: LAYERS,
  num_attention_heads: HEADS,
  num_key_value_heads: KV_HEADS,
  hidden_act: options.act ?? "relu2",
  rms_norm_eps: 1e-6,
  pretraining_tp: 1,
  rope_theta: 10000,
  rope_scaling: null,
  attention_bias: options.attentionBias ?? false,
  mlp_bias: null,
  moe_dim: options.dim,
  moe_heads: options.heads,
  moe_experts: options.keys,
  moe_topk: options.topK,
  moe_groups: options.groups,
  moe_decompose: options.decompose,
  output_router_probs: false,
  tie_word_embeddings: options.tied ?? false,
});

function tensorsOf({ decompose, heads, keys, dim, groups, attentionBias, tied }: MonetOptions): Tensors {
  const random = seeded(31);
  const tensors = new Map<string, Tensor>();
  const add = (name: string, scale: number, shape: readonly number[], mean = 0) => {
    const count = shape.reduce((all, n) => all * n, 1);
    tensors.set(name, { shape, values: normals(random, count, scale).map((value) => mean + value) });
  };
  const linear = (name: string, scale: number, rows: number, cols: number, bias = 0) => {
    add(`${name}.weight`, scale, [rows, cols]);
    if (bias > 0) add(`${name}.bias`, bias, [rows]);
  };
  add("model.embed_tokens.weight", 0.5, [VOCABULARY, WIDTH]);
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
      linear(at(`self_attn.${part}_proj`), 0.1, rows, WIDTH, attentionBias ? 0.2 : 0);
    }
    if (l % groups === 0) {
      for (const axis of [1, 2]) {
        linear(at(`router.w${axis}`), 0.15, heads * keys, WIDTH);
        add(at(`router.norm${axis}.running_mean`), 0.2, [heads]);
        add(at(`router.norm${axis}.running_var`), 0.1, [heads], 1);
        add(at(`router.norm${axis}.num_batches_tracked`), 1, []);
      }
    }
    if (decompose === "horizontal") {
      linear(at("moe.u"), 0.15, keys * dim, WIDTH, 0.2);
      linear(at("moe.v"), 0.15, WIDTH, keys * dim);
      add(at("moe.b"), 0.3, [keys, WIDTH]);
      continue;
    }
    const flat = (keys * dim) / 2;
    for (const axis of [1, 2]) {
      linear(at(`moe.u${axis}`), 0.15, flat, WIDTH, 0.2);
      for (const source of [1, 2]) linear(at(`moe.v${axis}${source}`), 0.15, WIDTH / 2, flat);
      add(at(`moe.b${axis}`), 0.3, [keys, WIDTH / 2]);
    }
  }
  add("model.norm.weight", 0.1, [WIDTH], 1);
  if (!tied) add("lm_head.weight", 0.1, [VOCABULARY, WIDTH]);
  return tensors;
}

/** The files of the folder. @param config changes to it */
export function monetFolder(options: MonetOptions, config: Readonly<Record<string, unknown>> = {}): File[] {
  const entries = [...tensorsOf(options)].map(([name, { shape, values }]) =>
    name.endsWith("num_batches_tracked")
      ? { name, dtype: "I64", shape, data: new Uint8Array(BigInt64Array.of(17n).buffer) }
      : { name, dtype: "F32", shape, data: new Uint8Array(values.buffer) },
  );
  const texts = { "config.json": JSON.stringify({ ...monetConfig(options), ...config }) };
  return [...filesOf(entries, 1), ...textFiles(texts)];
}

/** Logits of every position, [tokens, vocabulary]. */
export function monetLogits(options: MonetOptions, tokens: readonly number[]): Float64Array {
  const all = tensorsOf(options);
  const positions = tokens.map((_, i) => i);
  const turned = { ...ropeTable({ base: 10000, dims: HEAD }), positions, variant: "neox" } as const;
  let x: Float64Array = embed(vector(all, "model.embed_tokens.weight"), WIDTH, tokens);
  let weights: Float64Array = new Float64Array();
  for (let l = 0; l < LAYERS; l++) {
    const at = (name: string) => `model.layers.${l}.${name}`;
    const linear = (name: string) => matrix(all, at(name));
    const a = rmsnorm(x, vector(all, at("input_layernorm.weight")), 1e-6);
    const q = rope(matmul(a, linear("self_attn.q_proj")), { ...turned, heads: HEADS });
    const k = rope(matmul(a, linear("self_attn.k_proj")), { ...turned, heads: KV_HEADS });
    const v = matmul(a, linear("self_attn.v_proj"));
    const shape = { heads: HEADS, kvHeads: KV_HEADS, positions, scale: 1 / Math.sqrt(HEAD) };
    x = matmul(attention(q, k, v, shape), linear("self_attn.o_proj"), x);
    const f = rmsnorm(x, vector(all, at("post_attention_layernorm.weight")), 1e-6);
    if (l % options.groups === 0) weights = routed(all, at, options, f);
    const own = weights.length / tokens.length;
    const given = tokens.flatMap((_, t) =>
      experts(
        all,
        at,
        options,
        f.subarray(t * WIDTH, (t + 1) * WIDTH),
        weights.slice(t * own, (t + 1) * own),
      ),
    );
    x = x.map((value, i) => value + (given[i] as number));
  }
  const output = options.tied ? "model.embed_tokens" : "lm_head";
  return matmul(rmsnorm(x, vector(all, "model.norm.weight"), 1e-6), matrix(all, output));
}

type Named = (name: string) => string;

/** [tokens, 2, heads, keys] */
function routed(all: Tensors, at: Named, { heads, keys, topK }: MonetOptions, f: Values) {
  const [first, second] = [1, 2].map((axis) => matmul(f, matrix(all, at(`router.w${axis}`)))) as [
    Float64Array,
    Float64Array,
  ];
  const row = heads * keys;
  const scores = Array.from({ length: first.length / row }, (_, t) =>
    [first, second].flatMap((own) => [...own.subarray(t * row, (t + 1) * row)]),
  );
  const both = (of: string) =>
    [1, 2].flatMap((axis) => [...vector(all, at(`router.norm${axis}.running_${of}`))]);
  const statistics = { mean: both("mean"), variance: both("var"), epsilon: 1e-5 };
  return keyWeights(scores.flat(), { heads, keys, ...statistics, threshold: above(topK / keys) });
}

/** The experts of one token. */
function experts(all: Tensors, at: Named, options: MonetOptions, f: Values, weights: Values): number[] {
  const { decompose, heads, keys, act = "relu2" } = options;
  const mixed = (axis: 0 | 1, source: 0 | 1, hidden: Values) =>
    byKey(weights, hidden, { heads, keys, axis, source });
  const ones = new Float64Array(keys).fill(1);
  const biases = (axis: 0 | 1, name: string) => {
    const values = vector(all, at(name));
    const cols = values.length / keys;
    const sums = mixed(axis, axis, ones);
    return Float64Array.from({ length: cols }, (_, c) =>
      sums.reduce((sum, weight, k) => sum + weight * (values[k * cols + c] as number), 0),
    );
  };
  const hidden = (name: string) => matmul(f, matrix(all, at(name))).map(functions[act]);
  if (decompose === "horizontal") {
    return [...matmul(mixed(1, 0, hidden("moe.u")), matrix(all, at("moe.v")), biases(1, "moe.b"))];
  }
  const sources = [hidden("moe.u1"), hidden("moe.u2")];
  return ([0, 1] as const).flatMap((axis) => {
    const start = biases(axis, `moe.b${axis + 1}`);
    const sum = ([0, 1] as const).reduce<Float64Array>((sum, source) => {
      const second = matrix(all, at(`moe.v${axis + 1}${source + 1}`));
      return matmul(mixed(axis, source, sources[source] as Values), second, sum);
    }, start);
    return [...sum];
  });
}

const functions = {
  relu: (z: number) => Math.max(z, 0),
  relu2: (z: number) => Math.max(z, 0) ** 2,
  silu: (z: number) => z / (1 + Math.exp(-z)),
  gelu: (z: number) => z * normalBelow(z),
};

/** The x that a standard normal variable is above with probability `share`, by halving. */
function above(share: number): number {
  let [low, high] = [-40, 40];
  for (let i = 0; i < 200; i++) {
    const middle = (low + high) / 2;
    if (normalBelow(-middle) > share) low = middle;
    else high = middle;
  }
  return low;
}

function vector(all: Tensors, name: string): Float32Array {
  const found = all.get(name);
  if (!found) throw new Error(`no tensor ${name}`);
  return found.values;
}

function matrix(all: Tensors, name: string): Matrix {
  const values = vector(all, `${name}.weight`);
  const [rows = 0, cols = 0] = all.get(`${name}.weight`)?.shape ?? [];
  return { values, rows, cols, bias: all.get(`${name}.bias`)?.values };
}
