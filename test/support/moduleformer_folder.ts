/** Small random ModuleFormer models as folders, and what they compute in float64, as the authors' code has it. */
import {
  type ActivationRule,
  activate,
  combine,
  embed,
  expertDown,
  expertUp,
  layernorm,
  type Matrix,
  matmul,
  type Route,
  route,
} from "../reference/index.ts";
import { cosineGate, stickBreakingAttention } from "../reference/stick_breaking.ts";
import { filesOf, textFiles } from "./hugging_face.ts";
import { normals, seeded } from "./random.ts";

/** The length between a router's layers is no whole groups of weights. */
const [WIDTH, LAYERS, VOCABULARY, HIDDEN, GATING] = [64, 2, 96, 96, 20];

export interface ModuleFormerOptions {
  readonly gate: "mlp" | "linear" | "gmm";
  /** As the configuration calls it, and as the reference does. */
  readonly activation: readonly [name: string, rule: NonNullable<ActivationRule["activation"]>];
  readonly heads: number;
  /** Columns of all heads of an expert. Those of the width in one head are without keys and values of their own. */
  readonly attended: number;
  readonly experts: { readonly attention: number; readonly mlp: number };
  readonly topK: { readonly attention: number; readonly mlp: number };
  readonly isTied: boolean;
}

export const plainModules: ModuleFormerOptions = {
  gate: "mlp",
  activation: ["gelu_new", "gelu"],
  heads: 3,
  attended: 96,
  experts: { attention: 6, mlp: 8 },
  topK: { attention: 2, mlp: 3 },
  isTied: false,
};

interface Tensor {
  readonly shape: readonly number[];
  readonly values: Float32Array<ArrayBuffer>;
}
type Tensors = ReadonlyMap<string, Tensor>;

export const moduleFormerConfig = (options: ModuleFormerOptions) => ({
  architectures: ["ModuleFormerForCausalLM"],
  model_type: "moduleformer",
  vocab_size: VOCABULARY,
  history_length: 16,
  block_size: 16,
  n_embd: WIDTH,
  n_layer: LAYERS,
  n_head: options.heads,
  att_hidden: options.attended,
  ffd_hidden: HIDDEN,
  activation_function: options.activation[0],
  // Read by nothing.
  layer_norm_epsilon: 0.5,
  gating_size: GATING,
  n_att_experts: options.experts.attention,
  k_att: options.topK.attention,
  n_mlp_experts: options.experts.mlp,
  k_mlp: options.topK.mlp,
  gate_type: options.gate,
  n_ctx: 32,
  tie_word_embeddings: options.isTied,
});

const hasKeys = ({ heads, attended }: ModuleFormerOptions) => heads > 1 || attended !== WIDTH;

function tensorsOf(options: ModuleFormerOptions): Tensors {
  const { gate, attended, experts, isTied } = options;
  const random = seeded(31);
  const tensors = new Map<string, Tensor>();
  const add = (name: string, scale: number, shape: readonly number[], mean = 0) => {
    const count = shape.reduce((all, n) => all * n, 1);
    const values = normals(random, count, scale).map((value) => mean + value);
    tensors.set(`transformer.${name}`, { shape, values });
  };
  const norm = (name: string) => {
    add(`${name}.weight`, 0.1, [WIDTH], 1);
    add(`${name}.bias`, 0.1, [WIDTH]);
  };
  const router = (name: string, count: number) => {
    if (gate === "linear") add(`${name}.w_gate.0.weight`, 0.3, [count, WIDTH]);
    else if (gate === "gmm") {
      add(`${name}.w_gate.weight`, 0.15, [GATING, WIDTH]);
      add(`${name}.expert_centroids`, 1, [count, GATING]);
      add(`${name}.temperature`, 0.2, [1], 1.5);
    } else {
      add(`${name}.w_gate.0.weight`, 0.15, [GATING, WIDTH]);
      add(`${name}.w_gate.0.bias`, 0.2, [GATING]);
      add(`${name}.w_gate.3.weight`, 0.5, [count, GATING]);
    }
  };
  add("wte.weight", 0.5, [VOCABULARY, WIDTH]);
  for (let l = 0; l < LAYERS; l++) {
    norm(`h.${l}.ln_1`);
    add(`h.${l}.attn.q_proj.experts.weight`, 0.2, [experts.attention, WIDTH, attended]);
    add(`h.${l}.attn.q_proj.output_experts.weight`, 0.15, [experts.attention, attended, WIDTH]);
    router(`h.${l}.attn.q_proj.gate`, experts.attention);
    for (const part of hasKeys(options) ? ["k", "v"] : []) {
      add(`h.${l}.attn.${part}_proj.weight`, 0.2, [attended, WIDTH]);
      add(`h.${l}.attn.${part}_proj.bias`, 0.2, [attended]);
    }
    add(`h.${l}.attn.cum_weight`, 1, [4, 4]);
    norm(`h.${l}.ln_2`);
    add(`h.${l}.mlpf.experts.weight`, 0.15, [experts.mlp, WIDTH, HIDDEN]);
    add(`h.${l}.mlpf.output_experts.weight`, 0.15, [experts.mlp, HIDDEN, WIDTH]);
    router(`h.${l}.mlpf.gate`, experts.mlp);
  }
  norm("ln_f");
  if (!isTied) {
    const values = normals(random, VOCABULARY * WIDTH, 0.1);
    tensors.set("lm_head.weight", { shape: [VOCABULARY, WIDTH], values });
  }
  return tensors;
}

/** The files of the folder. @param config changes to it */
export function moduleFormerFolder(
  options: ModuleFormerOptions,
  config: Readonly<Record<string, unknown>> = {},
): File[] {
  const entries = [...tensorsOf(options)].map(([name, { shape, values }]) => {
    return { name, dtype: "F32", shape, data: new Uint8Array(values.buffer) };
  });
  entries.push({ name: "transformer.h.0.attn.mask", dtype: "I8", shape: [4, 4], data: new Uint8Array(16) });
  const texts = { "config.json": JSON.stringify({ ...moduleFormerConfig(options), ...config }) };
  return [...filesOf(entries, 1), ...textFiles(texts)];
}

/** Logits of every position, [tokens, vocabulary]. */
export function moduleFormerLogits(options: ModuleFormerOptions, tokens: readonly number[]): Float64Array {
  const { heads, experts, topK, activation } = options;
  const all = tensorsOf(options);
  const positions = tokens.map((_, i) => i);
  let x = embed(vector(all, "wte.weight"), WIDTH, tokens);
  for (let l = 0; l < LAYERS; l++) {
    const at = (name: string) => `h.${l}.${name}`;
    const a = normed(all, x, at("ln_1"));
    const asked = routed(all, options, a, at("attn.q_proj.gate"), experts.attention, topK.attention);
    const q = expertUp(a, turned(all, at("attn.q_proj.experts.weight")), asked.experts, {
      activation: "linear",
    });
    const [k, v] = ["k", "v"].map((part) =>
      hasKeys(options) ? matmul(a, linear(all, at(`attn.${part}_proj`))) : a,
    ) as [Float64Array, Float64Array];
    const scale = 1 / Math.sqrt(options.attended / heads);
    const shape = { choices: topK.attention, heads, positions, scale };
    const out = stickBreakingAttention(q, k, v, shape);
    const given = expertDown(out, turned(all, at("attn.q_proj.output_experts.weight")), asked.experts);
    x = combine(given, asked.weights, topK.attention, x);

    const f = normed(all, x, at("ln_2"));
    const chosen = routed(all, options, f, at("mlpf.gate"), experts.mlp, topK.mlp);
    const up = turned(all, at("mlpf.experts.weight"));
    const hidden = expertUp(f, up, chosen.experts, { activation: activation[1] });
    const down = expertDown(hidden, turned(all, at("mlpf.output_experts.weight")), chosen.experts);
    x = combine(down, chosen.weights, topK.mlp, x);
  }
  const head = options.isTied ? "transformer.wte.weight" : "lm_head.weight";
  const { values } = all.get(head) as Tensor;
  return matmul(normed(all, x, "ln_f"), { values, rows: VOCABULARY, cols: WIDTH });
}

function routed(
  all: Tensors,
  { gate }: ModuleFormerOptions,
  x: Float64Array,
  name: string,
  experts: number,
  topK: number,
): Route {
  const logits = () => {
    if (gate === "linear") return matmul(x, linear(all, `${name}.w_gate.0`));
    if (gate === "gmm") {
      const z = matmul(x, linear(all, `${name}.w_gate`));
      const temperature = vector(all, `${name}.temperature`)[0] ?? 0;
      const centroids = vector(all, `${name}.expert_centroids`);
      return cosineGate(z, centroids, { experts, factor: 1, temperature, least: 1e-12 });
    }
    const inner = matmul(x, linear(all, `${name}.w_gate.0`));
    const gelu = inner.map((value) => activate({ activation: "gelu-erf" }, value, 1));
    return matmul(gelu, linear(all, `${name}.w_gate.3`));
  };
  return route(logits(), { experts, topK, weightRule: "raw" });
}

function normed(all: Tensors, x: Float64Array, name: string): Float64Array {
  const bias = vector(all, `${name}.bias`);
  return layernorm(x, vector(all, `${name}.weight`), 1e-5).map((n, i) => n + (bias[i % WIDTH] as number));
}

function vector(all: Tensors, name: string): Float32Array {
  return tensor(all, name).values;
}

function tensor(all: Tensors, name: string): Tensor {
  const found = all.get(`transformer.${name}`);
  if (!found) throw new Error(`no tensor ${name}`);
  return found;
}

/** A matrix with its bias, if it has one. */
function linear(all: Tensors, name: string): Matrix {
  const { shape, values } = tensor(all, `${name}.weight`);
  const bias = all.get(`transformer.${name}.bias`)?.values;
  return { values, rows: shape[0] ?? 0, cols: shape[1] ?? 0, ...(bias && { bias: [...bias] }) };
}

/** Matrices of experts that lie as [experts, in, out]. */
function turned(all: Tensors, name: string) {
  const { shape, values } = tensor(all, name);
  const [count = 0, cols = 0, rows = 0] = shape;
  const out = new Float64Array(values.length);
  for (let e = 0; e < count; e++) {
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < cols; c++) {
        out[(e * rows + r) * cols + c] = values[(e * cols + c) * rows + r] as number;
      }
    }
  }
  return { values: out, rows, cols };
}
