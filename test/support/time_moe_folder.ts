/** Small random Time-MoE models as folders, and what they compute in float64, as the authors' code has it. */
import {
  type ActivationRule,
  activate,
  attention,
  combine,
  embedSeries,
  expertDown,
  expertGateUp,
  type Matrix,
  matmul,
  rmsnorm,
  rope,
  ropeTable,
  route,
} from "../reference/index.ts";
import { floatFolder } from "./hugging_face.ts";
import { normals, seeded } from "./random.ts";

const [WIDTH, HEADS, LAYERS, EXPERTS, HIDDEN] = [64, 2, 2, 6, 96];
const HEAD = WIDTH / HEADS;

export interface TimeMoeOptions {
  readonly dense?: boolean;
  readonly k?: number;
  readonly size?: number;
  readonly horizons?: number | readonly number[];
  /** `hidden_act`, and what it is in the reference. */
  readonly act?: readonly [string, NonNullable<ActivationRule["activation"]>];
}

interface Tensor {
  readonly shape: readonly number[];
  readonly values: Float32Array<ArrayBuffer>;
}
type Tensors = ReadonlyMap<string, Tensor>;

const K = 3;
const horizonsOf = ({ horizons = [1, 8] }: TimeMoeOptions): readonly number[] => [horizons].flat();

const SILU = ["silu", "silu"] as const;

export const timeMoeConfig = ({
  dense = false,
  k = K,
  size = 1,
  horizons = [1, 8],
  act = SILU,
}: TimeMoeOptions) => ({
  architectures: ["TimeMoeForPrediction"],
  model_type: "time_moe",
  input_size: size,
  hidden_size: WIDTH,
  intermediate_size: HIDDEN,
  max_position_embeddings: 64,
  num_hidden_layers: LAYERS,
  num_attention_heads: HEADS,
  num_key_value_heads: null,
  hidden_act: act[0],
  horizon_lengths: horizons,
  num_experts_per_tok: k,
  num_experts: EXPERTS,
  rms_norm_eps: 1e-6,
  use_dense: dense,
  apply_aux_loss: !dense,
  rope_theta: 5000,
  tie_word_embeddings: false,
});

/** [the name before "_proj", rows, columns] of an MLP. */
const mlp = (hidden: number) =>
  [
    ["gate", hidden, WIDTH],
    ["up", hidden, WIDTH],
    ["down", WIDTH, hidden],
  ] as const;

function tensorsOf(options: TimeMoeOptions): Tensors {
  const { dense = false, k = K, size = 1 } = options;
  const random = seeded(37);
  const tensors = new Map<string, Tensor>();
  const add = (name: string, scale: number, shape: readonly number[], mean = 0) => {
    const count = shape.reduce((all, n) => all * n, 1);
    tensors.set(name, { shape, values: normals(random, count, scale).map((value) => mean + value) });
  };
  for (const part of ["gate", "emb"]) add(`model.embed_layer.${part}_layer.weight`, 1.5, [WIDTH, size]);
  for (let l = 0; l < LAYERS; l++) {
    const at = (name: string) => `model.layers.${l}.${name}`;
    for (const norm of ["input_layernorm", "post_attention_layernorm"])
      add(at(`${norm}.weight`), 0.1, [WIDTH], 1);
    for (const part of ["q", "k", "v", "o"]) {
      add(at(`self_attn.${part}_proj.weight`), 0.1, [WIDTH, WIDTH]);
      if (part !== "o") add(at(`self_attn.${part}_proj.bias`), 0.2, [WIDTH]);
    }
    const addMlp = (name: string, hidden: number) => {
      for (const [part, ...shape] of mlp(hidden))
        add(at(`ffn_layer.${name}${part}_proj.weight`), 0.15, shape);
    };
    if (dense) {
      addMlp("", HIDDEN);
      continue;
    }
    add(at("ffn_layer.gate.weight"), 0.2, [EXPERTS, WIDTH]);
    for (let e = 0; e < EXPERTS; e++) addMlp(`experts.${e}.`, Math.floor(HIDDEN / k));
    addMlp("shared_expert.", HIDDEN);
    add(at("ffn_layer.shared_expert_gate.weight"), 0.2, [1, WIDTH]);
  }
  add("model.norm.weight", 0.1, [WIDTH], 1);
  for (const [i, steps] of horizonsOf(options).entries()) {
    add(`lm_heads.${i}.out_layer.weight`, 0.1, [steps * size, WIDTH]);
  }
  return tensors;
}

/** The files of the folder. @param config changes to it */
export function timeMoeFolder(
  options: TimeMoeOptions,
  config: Readonly<Record<string, unknown>> = {},
): File[] {
  return floatFolder(tensorsOf(options), { ...timeMoeConfig(options), ...config });
}

/** What each head says behind each point: by head [points, steps · size]. */
export function timeMoeHeads(options: TimeMoeOptions, points: ArrayLike<number>): Float64Array[] {
  const { size = 1, act = SILU } = options;
  const rule = { activation: act[1] };
  const all = tensorsOf(options);
  const positions = Array.from({ length: points.length / size }, (_, i) => i);
  const turned = {
    ...ropeTable({ base: 5000, dims: HEAD }),
    positions,
    variant: "neox",
    heads: HEADS,
  } as const;
  const [gate, value] = ["gate", "emb"].map((part) => vector(all, `model.embed_layer.${part}_layer.weight`));
  let x = embedSeries(gate as Float32Array, value as Float32Array, size, points, rule);
  for (let l = 0; l < LAYERS; l++) {
    const at = (name: string) => `model.layers.${l}.${name}`;
    const a = rmsnorm(x, vector(all, at("input_layernorm.weight")), 1e-6);
    const [q, k, v] = ["q", "k", "v"].map((part) => {
      const bias = vector(all, at(`self_attn.${part}_proj.bias`));
      return matmul(a, { ...matrix(all, [at(`self_attn.${part}_proj.weight`)]), bias });
    }) as [Float64Array, Float64Array, Float64Array];
    const shape = { heads: HEADS, kvHeads: HEADS, positions, scale: 1 / Math.sqrt(HEAD) };
    const mixed = attention(rope(q, turned), rope(k, turned), v, shape);
    x = matmul(mixed, matrix(all, [at("self_attn.o_proj.weight")]), x);
    const f = rmsnorm(x, vector(all, at("post_attention_layernorm.weight")), 1e-6);
    const added = feedForward(all, at, options, f);
    x = x.map((value, i) => value + (added[i] as number));
  }
  const last = rmsnorm(x, vector(all, "model.norm.weight"), 1e-6);
  return horizonsOf(options).map((_, i) => matmul(last, matrix(all, [`lm_heads.${i}.out_layer.weight`])));
}

function feedForward(
  all: Tensors,
  at: (name: string) => string,
  { dense = false, k = K, act = SILU }: TimeMoeOptions,
  f: Float64Array,
): Float64Array {
  const rule = { activation: act[1] };
  const plain = (name: string) => {
    const linear = (part: string) => at(`ffn_layer.${name}${part}_proj.weight`);
    const [gate, up] = [linear("gate"), linear("up")].map((name) => matmul(f, matrix(all, [name])));
    const hidden = gate?.map((value, i) => activate(rule, value, up?.[i] as number));
    return matmul(hidden as Float64Array, matrix(all, [linear("down")]));
  };
  if (dense) return plain("");
  const logits = matmul(f, matrix(all, [at("ffn_layer.gate.weight")]));
  const chosen = route(logits, { experts: EXPERTS, topK: k, weightRule: "raw" });
  const experts = (part: string) => {
    const names = Array.from({ length: EXPERTS }, (_, e) => at(`ffn_layer.experts.${e}.${part}_proj.weight`));
    const { values, rows, cols } = matrix(all, names);
    return { values, rows: rows / EXPERTS, cols };
  };
  const hidden = expertGateUp(f, experts("gate"), experts("up"), chosen.experts, rule);
  const routed = combine(expertDown(hidden, experts("down"), chosen.experts), chosen.weights, k);
  const shared = plain("shared_expert.");
  const gates = matmul(f, matrix(all, [at("ffn_layer.shared_expert_gate.weight")]));
  return routed.map((value, i) => {
    const gate = 1 / (1 + Math.exp(-(gates[Math.floor(i / WIDTH)] as number)));
    return value + gate * (shared[i] as number);
  });
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
