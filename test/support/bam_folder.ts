/** Small random BAM models as folders, with plausible names, and what they compute in float64. */
import {
  attention,
  combine,
  embed,
  expertDown,
  expertGateUp,
  layernorm,
  type Matrix,
  matmul,
  rope,
  ropeTable,
  route,
} from "../reference/index.ts";
import { softMixture } from "../reference/soft_mixture.ts";
import { floatFolder } from "./hugging_face.ts";
import { normals, seeded } from "./random.ts";

const [WIDTH, LAYERS, VOCABULARY, HIDDEN, EXPERTS] = [64, 2, 96, 96, 5];
const [ASKING, HEADS, KV_HEADS, HEAD] = [3, 4, 2, 16];
const EPSILON = 1e-5;

export interface BamOptions {
  /** All attention experts have the same keys and values. */
  readonly sharesKeys: boolean;
}

interface Tensor {
  readonly shape: readonly number[];
  readonly values: Float32Array<ArrayBuffer>;
}
type Tensors = ReadonlyMap<string, Tensor>;

export const bamConfig = ({ sharesKeys }: BamOptions) => ({
  architectures: ["BamForCausalLM"],
  model_type: "bam",
  vocab_size: VOCABULARY,
  max_position_embeddings: 128,
  hidden_size: WIDTH,
  intermediate_size: HIDDEN,
  num_hidden_layers: LAYERS,
  num_attention_heads: HEADS,
  num_key_value_heads: KV_HEADS,
  head_dim: HEAD,
  hidden_act: "silu",
  layer_norm_eps: EPSILON,
  rope_theta: 10000,
  num_attention_experts: ASKING,
  share_key_value: sharesKeys,
  num_experts: EXPERTS,
  num_experts_per_tok: 1,
  tie_word_embeddings: true,
});

const expertNames = (block: string, count: number, part: string) =>
  Array.from({ length: count }, (_, e) => `${block}.experts.${e}.${part}_proj.weight`);

/** k or v of each expert, or of all. */
const keyNames = ({ sharesKeys }: BamOptions, at: (name: string) => string, part: string) =>
  sharesKeys ? [at(`self_attn.${part}_proj.weight`)] : expertNames(at("self_attn"), ASKING, part);

function tensorsOf(options: BamOptions): Tensors {
  const random = seeded(77);
  const tensors = new Map<string, Tensor>();
  const add = (name: string, scale: number, shape: readonly number[], mean = 0) => {
    const count = shape.reduce((all, n) => all * n, 1);
    tensors.set(name, { shape, values: normals(random, count, scale).map((value) => mean + value) });
  };
  add("model.embed_tokens.weight", 0.5, [VOCABULARY, WIDTH]);
  for (let l = 0; l < LAYERS; l++) {
    const at = (name: string) => `model.layers.${l}.${name}`;
    add(at("input_layernorm.weight"), 0.1, [WIDTH], 1);
    add(at("self_attn.gate.weight"), 0.2, [ASKING, WIDTH]);
    for (const part of ["k", "v"]) {
      for (const name of keyNames(options, at, part)) add(name, 0.15, [KV_HEADS * HEAD, WIDTH]);
    }
    for (const name of expertNames(at("self_attn"), ASKING, "q")) add(name, 0.2, [HEADS * HEAD, WIDTH]);
    for (const name of expertNames(at("self_attn"), ASKING, "o")) add(name, 0.15, [WIDTH, HEADS * HEAD]);
    add(at("mlp.gate.weight"), 0.2, [EXPERTS, WIDTH]);
    for (const part of ["gate", "up"]) {
      for (const name of expertNames(at("mlp"), EXPERTS, part)) add(name, 0.15, [HIDDEN, WIDTH]);
    }
    for (const name of expertNames(at("mlp"), EXPERTS, "down")) add(name, 0.15, [WIDTH, HIDDEN]);
  }
  add("model.norm.weight", 0.1, [WIDTH], 1);
  return tensors;
}

/** The files of the folder. @param config changes to it */
export function bamFolder(options: BamOptions, config: Readonly<Record<string, unknown>> = {}): File[] {
  return floatFolder(tensorsOf(options), { ...bamConfig(options), ...config });
}

/** Logits of every position, [tokens, vocabulary]. */
export function bamLogits(options: BamOptions, tokens: readonly number[]): Float64Array {
  const all = tensorsOf(options);
  const positions = tokens.map((_, i) => i);
  const turned = { ...ropeTable({ base: 10000, dims: HEAD }), positions, variant: "neox" } as const;
  let x = embed(vector(all, "model.embed_tokens.weight"), WIDTH, tokens);
  for (let l = 0; l < LAYERS; l++) {
    const at = (name: string) => `model.layers.${l}.${name}`;
    const n = layernorm(x, vector(all, at("input_layernorm.weight")), EPSILON);
    const attended = Array.from({ length: ASKING }, (_, e) => {
      const own = (part: string) => matrix(all, [at(`self_attn.experts.${e}.${part}_proj.weight`)]);
      const key = (part: string) => {
        const names = keyNames(options, at, part);
        return matmul(n, matrix(all, [names[e % names.length] as string]));
      };
      const q = rope(matmul(n, own("q")), { ...turned, heads: HEADS });
      const k = rope(key("k"), { ...turned, heads: KV_HEADS });
      const shape = { heads: HEADS, kvHeads: KV_HEADS, positions, scale: 1 / Math.sqrt(HEAD) };
      return matmul(attention(q, k, key("v"), shape), own("o"));
    });
    const rows = Float64Array.from({ length: tokens.length * ASKING * WIDTH }, (_, i) => {
      const [t, e] = [Math.floor(i / WIDTH / ASKING), Math.floor(i / WIDTH) % ASKING];
      return attended[e]?.[t * WIDTH + (i % WIDTH)] as number;
    });
    const mixed = softMixture(matmul(n, matrix(all, [at("self_attn.gate.weight")])), rows, ASKING);

    const logits = matmul(n, matrix(all, [at("mlp.gate.weight")]));
    const chosen = route(logits, { experts: EXPERTS, topK: 1, weightRule: "raw" });
    const each = (part: string) => {
      const { values, rows, cols } = matrix(all, expertNames(at("mlp"), EXPERTS, part));
      return { values, rows: rows / EXPERTS, cols };
    };
    const hidden = expertGateUp(n, each("gate"), each("up"), chosen.experts);
    const fed = combine(expertDown(hidden, each("down"), chosen.experts), chosen.weights, 1);
    x = x.map((value, i) => value + (mixed[i] as number) + (fed[i] as number));
  }
  return matmul(
    layernorm(x, vector(all, "model.norm.weight"), EPSILON),
    matrix(all, ["model.embed_tokens.weight"]),
  );
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
