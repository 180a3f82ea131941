/** Small random FactorLLMs as folders, and what they compute in float64, as the authors' code has it. */
import {
  activate,
  attention,
  byDescending,
  embed,
  type Matrix,
  matmul,
  rmsnorm,
  rope,
  ropeTable,
} from "../reference/index.ts";
import { floatFolder } from "./hugging_face.ts";
import { normals, seeded } from "./random.ts";

const [WIDTH, HEADS, LAYERS, HIDDEN, VOCABULARY, EXPERTS, TOP_K] = [64, 2, 2, 256, 80, 4, 2];
const [HEAD, SLICE] = [WIDTH / HEADS, HIDDEN / EXPERTS];

export interface FactorOptions {
  /** Experts are slices of the dense matrices, and not tensors of their own beside them. */
  readonly sharesDense: boolean;
}

type Tensors = ReadonlyMap<
  string,
  { readonly shape: readonly number[]; readonly values: Float32Array<ArrayBuffer> }
>;

export const factorConfig = ({ sharesDense }: FactorOptions) => ({
  model_type: "factor_llm",
  hidden_size: WIDTH,
  intermediate_size: HIDDEN,
  num_hidden_layers: LAYERS,
  num_attention_heads: HEADS,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  // Their code does not read it.
  rope_theta: 500,
  num_experts: EXPERTS,
  num_experts_per_tok: TOP_K,
  shares_dense: sharesDense,
  tie_word_embeddings: false,
});

function tensorsOf({ sharesDense }: FactorOptions): Tensors {
  const random = seeded(18);
  const tensors = new Map<string, { shape: readonly number[]; values: Float32Array<ArrayBuffer> }>();
  const add = (name: string, scale: number, shape: readonly number[], mean = 0) => {
    const count = shape.reduce((all, n) => all * n, 1);
    tensors.set(name, { shape, values: normals(random, count, scale).map((value) => mean + value) });
  };
  add("model.embed_tokens.weight", 0.5, [VOCABULARY, WIDTH]);
  for (let l = 0; l < LAYERS; l++) {
    const at = (name: string) => `model.layers.${l}.${name}`;
    for (const norm of ["input_layernorm", "post_attention_layernorm"])
      add(at(`${norm}.weight`), 0.1, [WIDTH], 1);
    for (const part of ["q", "k", "v", "o"]) add(at(`self_attn.${part}_proj.weight`), 0.1, [WIDTH, WIDTH]);
    add(at("mlp.route1.weight"), 0.2, [EXPERTS, WIDTH]);
    add(at("mlp.route1.bias"), 0.3, [EXPERTS]);
    for (const [part, rows, cols] of [
      ["gate", HIDDEN, WIDTH],
      ["up", HIDDEN, WIDTH],
      ["down", WIDTH, HIDDEN],
    ] as const) {
      add(at(`mlp.${part}_proj.weight`), 0.12, [rows, cols]);
      if (sharesDense) continue;
      const shape = part === "down" ? [WIDTH, SLICE] : [SLICE, WIDTH];
      for (let e = 0; e < EXPERTS; e++) add(at(`mlp.${part}_proj_list.${e}.weight`), 0.12, shape);
    }
  }
  add("model.norm.weight", 0.1, [WIDTH], 1);
  add("lm_head.weight", 0.1, [VOCABULARY, WIDTH]);
  return tensors;
}

/** The files of the folder. @param config changes to it */
export function factorFolder(options: FactorOptions, config: Readonly<Record<string, unknown>> = {}): File[] {
  return floatFolder(tensorsOf(options), { ...factorConfig(options), ...config });
}

/** Logits of every position, [tokens, vocabulary]. */
export function factorLogits(options: FactorOptions, tokens: readonly number[]): Float64Array {
  const all = tensorsOf(options);
  const positions = tokens.map((_, i) => i);
  const turned = {
    ...ropeTable({ base: 10000, dims: HEAD }),
    positions,
    variant: "neox",
    heads: HEADS,
  } as const;
  let x: Float64Array = embed(vector(all, "model.embed_tokens.weight"), WIDTH, tokens);
  for (let l = 0; l < LAYERS; l++) {
    const at = (name: string) => `model.layers.${l}.${name}`;
    const a = rmsnorm(x, vector(all, at("input_layernorm.weight")), 1e-5);
    const [q, k, v] = ["q", "k", "v"].map((part) => matmul(a, matrix(all, at(`self_attn.${part}_proj`))));
    const shape = { heads: HEADS, kvHeads: HEADS, positions, scale: 1 / Math.sqrt(HEAD) };
    const mixed = attention(
      rope(q as Float64Array, turned),
      rope(k as Float64Array, turned),
      v as Float64Array,
      shape,
    );
    x = matmul(mixed, matrix(all, at("self_attn.o_proj")), x);
    const f = rmsnorm(x, vector(all, at("post_attention_layernorm.weight")), 1e-5);
    const bias = vector(all, at("mlp.route1.bias"));
    const logits = matmul(f, { ...matrix(all, at("mlp.route1")), bias });
    const given = Array.from({ length: EXPERTS }, (_, e) => slice(all, at, options, e, f));
    x = x.map((value, i) => {
      const t = Math.floor(i / WIDTH);
      const chosen = byDescending(logits.subarray(t * EXPERTS, (t + 1) * EXPERTS)).slice(0, TOP_K);
      const sum = chosen.reduce((total, e) => total + (given[e]?.[i] as number), 0);
      return value + Math.floor(EXPERTS / TOP_K) * sum;
    });
  }
  return matmul(rmsnorm(x, vector(all, "model.norm.weight"), 1e-5), matrix(all, "lm_head"));
}

/** What expert `e` gives. */
function slice(
  all: Tensors,
  at: (name: string) => string,
  { sharesDense }: FactorOptions,
  e: number,
  f: Float64Array,
): Float64Array {
  const own = (part: string): Matrix => {
    if (!sharesDense) return matrix(all, at(`mlp.${part}_proj_list.${e}`));
    const { values, rows, cols } = matrix(all, at(`mlp.${part}_proj`));
    if (part !== "down") {
      const first = e * SLICE * cols;
      return { values: Array.from(values).slice(first, first + SLICE * cols), rows: SLICE, cols };
    }
    const columns = Array.from({ length: rows * SLICE }, (_, i) => {
      return values[Math.floor(i / SLICE) * cols + e * SLICE + (i % SLICE)] as number;
    });
    return { values: columns, rows, cols: SLICE };
  };
  const up = matmul(f, own("up"));
  const hidden = matmul(f, own("gate")).map((gate, i) => activate({}, gate, up[i] as number));
  return matmul(hidden, own("down"));
}

function vector(all: Tensors, name: string): Float32Array {
  const found = all.get(name);
  if (!found) throw new Error(`no tensor ${name}`);
  return found.values;
}

function matrix(all: Tensors, name: string): Matrix {
  const [rows = 0, cols = 0] = all.get(`${name}.weight`)?.shape ?? [];
  return { values: vector(all, `${name}.weight`), rows, cols };
}
