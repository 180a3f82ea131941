/** Small random GPTs with experts under the names of Megatron-DeepSpeed, and what they compute in float64. */
import {
  type ActivationRule,
  activate,
  attention,
  byDescending,
  embed,
  layernorm,
  type Matrix,
  matmul,
  residualMix,
} from "../reference/index.ts";
import { floatFolder } from "./hugging_face.ts";
import { normals, seeded } from "./random.ts";

const [WIDTH, HEADS, LAYERS, HIDDEN, VOCABULARY, POSITIONS] = [64, 2, 4, 96, 80, 48];
const HEAD = WIDTH / HEADS;

export interface MegatronOptions {
  /** Of the layers that have some, in turn: by default of the second and the fourth. */
  readonly experts: readonly number[];
  readonly every?: number;
  readonly k?: number;
  readonly residual?: boolean;
  /** Megatron's own names of experts, with a bias of the router. */
  readonly switch?: boolean;
  readonly act?: readonly [string, NonNullable<ActivationRule["activation"]>];
}

interface Tensor {
  readonly shape: readonly number[];
  readonly values: Float32Array<ArrayBuffer>;
}
type Tensors = ReadonlyMap<string, Tensor>;

const GELU = ["gelu", "gelu-erf"] as const;
const ROOT = "language_model.encoder";

export const megatronConfig = ({
  experts,
  every = 2,
  k = 1,
  residual = false,
  act = GELU,
}: MegatronOptions) => ({
  model_type: "megatron-deepspeed-gpt",
  num_hidden_layers: LAYERS,
  hidden_size: WIDTH,
  ffn_hidden_size: HIDDEN,
  num_attention_heads: HEADS,
  max_position_embeddings: POSITIONS,
  layernorm_epsilon: 1e-5,
  hidden_act: act[0],
  num_experts: experts,
  expert_interval: every,
  topk: k,
  mlp_type: residual ? "residual" : "standard",
});

/** Experts of layer `l`; 1 where it has none. */
const expertsAt = ({ experts, every = 2 }: MegatronOptions, l: number): number =>
  (l + 1) % every === 0 ? (experts[(l + 1) / every - 1] ?? (experts[0] as number)) : 1;

function namesOf({ switch: isSwitch = false }: MegatronOptions) {
  return isSwitch
    ? { router: "mlp.router", expert: (e: number) => `mlp.experts.${e}` }
    : {
        router: "mlp.deepspeed_moe.gate.wg",
        expert: (e: number) => `mlp.deepspeed_moe.experts.deepspeed_experts.${e}`,
      };
}

function tensorsOf(options: MegatronOptions): Tensors {
  const random = seeded(46);
  const tensors = new Map<string, Tensor>();
  const add = (name: string, scale: number, shape: readonly number[], mean = 0) => {
    const count = shape.reduce((all, n) => all * n, 1);
    tensors.set(name, { shape, values: normals(random, count, scale).map((value) => mean + value) });
  };
  const linear = (name: string, rows: number, cols: number, scale = 0.12) => {
    add(`${name}.weight`, scale, [rows, cols]);
    add(`${name}.bias`, 0.1, [rows]);
  };
  const norm = (name: string) => {
    add(`${name}.weight`, 0.1, [WIDTH], 1);
    add(`${name}.bias`, 0.1, [WIDTH]);
  };
  const mlp = (name: string) => {
    linear(`${name}.dense_h_to_4h`, HIDDEN, WIDTH, 0.2);
    linear(`${name}.dense_4h_to_h`, WIDTH, HIDDEN, 0.2);
  };
  add("language_model.embedding.word_embeddings.weight", 0.5, [VOCABULARY, WIDTH]);
  add("language_model.embedding.position_embeddings.weight", 0.5, [POSITIONS, WIDTH]);
  const { router, expert } = namesOf(options);
  for (let l = 0; l < LAYERS; l++) {
    const at = (name: string) => `${ROOT}.layers.${l}.${name}`;
    norm(at("input_layernorm"));
    linear(at("self_attention.query_key_value"), 3 * WIDTH, WIDTH);
    linear(at("self_attention.dense"), WIDTH, WIDTH);
    norm(at("post_attention_layernorm"));
    const experts = expertsAt(options, l);
    if (experts === 1) {
      mlp(at("mlp"));
      continue;
    }
    add(at(`${router}.weight`), 0.3, [experts, WIDTH]);
    if (options.switch) add(at(`${router}.bias`), 0.3, [experts]);
    for (let e = 0; e < experts; e++) mlp(at(expert(e)));
    if (!options.residual) continue;
    mlp(at("mlp.mlp"));
    linear(at("mlp.coefficient"), 2, WIDTH, 0.3);
  }
  norm(`${ROOT}.final_layernorm`);
  return tensors;
}

/** The files of the folder. @param config changes to it */
export function megatronFolder(
  options: MegatronOptions,
  config: Readonly<Record<string, unknown>> = {},
): File[] {
  return floatFolder(tensorsOf(options), { ...megatronConfig(options), ...config });
}

/** Logits of every position, [tokens, vocabulary]. */
export function megatronLogits(options: MegatronOptions, tokens: readonly number[]): Float64Array {
  const all = tensorsOf(options);
  const words = vector(all, "language_model.embedding.word_embeddings.weight");
  const positions = tokens.map((_, i) => i);
  const places = embed(vector(all, "language_model.embedding.position_embeddings.weight"), WIDTH, positions);
  let x: Float64Array = embed(words, WIDTH, tokens).map((value, i) => value + (places[i] as number));
  for (let l = 0; l < LAYERS; l++) {
    const at = (name: string) => `${ROOT}.layers.${l}.${name}`;
    const qkv = matmul(
      norm(all, at("input_layernorm"), x),
      linear(all, at("self_attention.query_key_value")),
    );
    // Rows of the product: [heads, q or k or v, rows of a head].
    const part = (which: number) =>
      Float64Array.from({ length: x.length }, (_, i) => {
        const [t, row] = [Math.floor(i / WIDTH), i % WIDTH];
        const [head, inHead] = [Math.floor(row / HEAD), row % HEAD];
        return qkv[t * 3 * WIDTH + (3 * head + which) * HEAD + inHead] as number;
      });
    const shape = { heads: HEADS, kvHeads: HEADS, positions, scale: 1 / Math.sqrt(HEAD) };
    x = matmul(attention(part(0), part(1), part(2), shape), linear(all, at("self_attention.dense")), x);
    const added = feedForward(all, at, options, l, norm(all, at("post_attention_layernorm"), x));
    x = x.map((value, i) => value + (added[i] as number));
  }
  const last = norm(all, `${ROOT}.final_layernorm`, x);
  return matmul(last, { values: words, rows: VOCABULARY, cols: WIDTH });
}

function feedForward(
  all: Tensors,
  at: (name: string) => string,
  options: MegatronOptions,
  l: number,
  f: Float64Array,
): Float64Array {
  const { k = 1, act = GELU, residual } = options;
  const mlp = (name: string) => {
    const hidden = matmul(f, linear(all, at(`${name}.dense_h_to_4h`)));
    const given = hidden.map((value) => activate({ activation: act[1] }, value, 1));
    return matmul(given, linear(all, at(`${name}.dense_4h_to_h`)));
  };
  const experts = expertsAt(options, l);
  if (experts === 1) return mlp("mlp");
  const { router, expert } = namesOf(options);
  const logits = matmul(f, linear(all, at(router)));
  // All experts, of which each token takes its own.
  const outputs = Array.from({ length: experts }, (_, e) => mlp(expert(e)));
  const moe = f.map((_, i) => {
    const t = Math.floor(i / WIDTH);
    const powers = logits.subarray(t * experts, (t + 1) * experts).map(Math.exp);
    const chosen = byDescending(powers).slice(0, k);
    const of: Iterable<number> = k === 1 ? powers : chosen.map((e) => powers[e] as number);
    const sum = [...of].reduce((total, power) => total + power, 0);
    return chosen.reduce(
      (total, e) => total + ((powers[e] as number) / sum) * (outputs[e]?.[i] as number),
      0,
    );
  });
  if (!residual) return moe;
  return residualMix(matmul(f, linear(all, at("mlp.coefficient"))), moe, mlp("mlp.mlp"));
}

function norm(all: Tensors, name: string, x: Float64Array): Float64Array {
  const bias = vector(all, `${name}.bias`);
  return layernorm(x, vector(all, `${name}.weight`), 1e-5).map(
    (value, i) => value + (bias[i % WIDTH] as number),
  );
}

function vector(all: Tensors, name: string): Float32Array {
  const found = all.get(name);
  if (!found) throw new Error(`no tensor ${name}`);
  return found.values;
}

function linear(all: Tensors, name: string): Matrix {
  const values = vector(all, `${name}.weight`);
  const [rows = 0, cols = 0] = all.get(`${name}.weight`)?.shape ?? [];
  return { values, rows, cols, bias: all.get(`${name}.bias`)?.values };
}
