/** Small random models with the attention of Llama as folders, and what they compute in float64: the feed-forward part is
 * whose they are. */
import { attention, embed, type Matrix, matmul, rmsnorm, rope, ropeTable } from "../reference/index.ts";
import { filesOf, textFiles } from "./hugging_face.ts";
import { normals, type Random, seeded } from "./random.ts";

export const [WIDTH, LAYERS, VOCABULARY] = [64, 3, 96];
const [HEADS, KV_HEADS] = [2, 1];
const HEAD = WIDTH / HEADS;
const EPSILON = 1e-5;
const ROPE_BASE = 10000;

/** Tensors by their published names. */
export class Tensors {
  readonly #random: Random;
  readonly #all = new Map<string, { shape: readonly number[]; values: Float32Array<ArrayBuffer> }>();

  constructor(seed: number) {
    this.#random = seeded(seed);
  }

  /** Normal numbers. */
  add(name: string, scale: number, shape: readonly number[], mean = 0): void {
    const count = shape.reduce((all, n) => all * n, 1);
    const values = normals(this.#random, count, scale).map((value) => mean + value);
    this.#all.set(name, { shape, values });
  }

  vector(name: string): Float32Array {
    return this.#found(name).values;
  }

  /** The rows of these tensors, one below the other. */
  matrix(...names: readonly string[]): Matrix {
    const values = names.flatMap((name) => [...this.vector(name)]);
    const cols = this.#found(names[0] as string).shape[1] ?? 0;
    return { values, rows: values.length / cols, cols };
  }

  files(config: Readonly<Record<string, unknown>>): File[] {
    const entries = [...this.#all].map(([name, { shape, values }]) => {
      return { name, dtype: "F32", shape, data: new Uint8Array(values.buffer) };
    });
    return [...filesOf(entries, 1), ...textFiles({ "config.json": JSON.stringify(config) })];
  }

  #found(name: string) {
    const found = this.#all.get(name);
    if (!found) throw new Error(`no tensor ${name}`);
    return found;
  }
}

export const llamaConfig = {
  vocab_size: VOCABULARY,
  max_position_embeddings: 64,
  hidden_size: WIDTH,
  num_hidden_layers: LAYERS,
  num_attention_heads: HEADS,
  num_key_value_heads: KV_HEADS,
  hidden_act: "silu",
  rms_norm_eps: EPSILON,
  rope_theta: ROPE_BASE,
  rope_scaling: null,
  tie_word_embeddings: false,
};

/** @param feedForward adds the tensors of a layer that come behind its norm */
export function llamaTensors(seed: number, feedForward: (tensors: Tensors, layer: string) => void): Tensors {
  const tensors = new Tensors(seed);
  tensors.add("model.embed_tokens.weight", 0.5, [VOCABULARY, WIDTH]);
  for (let l = 0; l < LAYERS; l++) {
    const layer = `model.layers.${l}`;
    for (const norm of ["input_layernorm", "post_attention_layernorm"])
      tensors.add(`${layer}.${norm}.weight`, 0.1, [WIDTH], 1);
    for (const [part, rows] of [
      ["q", WIDTH],
      ["k", KV_HEADS * HEAD],
      ["v", KV_HEADS * HEAD],
      ["o", WIDTH],
    ] as const) {
      tensors.add(`${layer}.self_attn.${part}_proj.weight`, 0.1, [rows, WIDTH]);
    }
    feedForward(tensors, layer);
  }
  tensors.add("model.norm.weight", 0.1, [WIDTH], 1);
  tensors.add("lm_head.weight", 0.1, [VOCABULARY, WIDTH]);
  return tensors;
}

/**
 * Logits of every position, [tokens, vocabulary].
 * @param feedForward what a layer adds for normed inputs [tokens, width], by falling depth once a layer
 */
export function llamaLogits(
  tensors: Tensors,
  tokens: readonly number[],
  feedForward: (layer: string, f: Float64Array) => Float64Array,
  ropeBase = ROPE_BASE,
): Float64Array {
  const positions = tokens.map((_, i) => i);
  const turned = { ...ropeTable({ base: ropeBase, dims: HEAD }), positions, variant: "neox" } as const;
  let x: Float64Array = embed(tensors.vector("model.embed_tokens.weight"), WIDTH, tokens);
  for (let l = 0; l < LAYERS; l++) {
    const layer = `model.layers.${l}`;
    const linear = (part: string) => tensors.matrix(`${layer}.self_attn.${part}_proj.weight`);
    const norm = (name: string) => tensors.vector(`${layer}.${name}.weight`);
    const a = rmsnorm(x, norm("input_layernorm"), EPSILON);
    const q = rope(matmul(a, linear("q")), { ...turned, heads: HEADS });
    const k = rope(matmul(a, linear("k")), { ...turned, heads: KV_HEADS });
    const shape = { heads: HEADS, kvHeads: KV_HEADS, positions, scale: 1 / Math.sqrt(HEAD) };
    x = matmul(attention(q, k, matmul(a, linear("v")), shape), linear("o"), x);
    const given = feedForward(layer, rmsnorm(x, norm("post_attention_layernorm"), EPSILON));
    x = x.map((value, i) => value + (given[i] as number));
  }
  const last = rmsnorm(x, tensors.vector("model.norm.weight"), EPSILON);
  return matmul(last, tensors.matrix("lm_head.weight"));
}
