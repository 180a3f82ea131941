import { readFile } from "node:fs/promises";
import { type GGUFParseOutput, gguf } from "@huggingface/gguf";
import { fileBytes, tensorTypeOf } from "../../src/quant/formats.ts";
import { dequantise } from "../../src/quant/reference.ts";
import type { RopeScaling } from "./attention.ts";
import type { Matrix } from "./dense.ts";
import type { ExpertMatrix } from "./moe.ts";

export interface Config {
  readonly layers: number;
  readonly dim: number;
  readonly vocabulary: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly experts: number;
  readonly topK: number;
  readonly epsilon: number;
  readonly rope: { readonly base: number; readonly dims: number; readonly scaling: RopeScaling | undefined };
}

export interface Layer {
  readonly attnNorm: Float32Array;
  readonly q: Matrix;
  readonly k: Matrix;
  readonly v: Matrix;
  readonly qNorm: Float32Array;
  readonly kNorm: Float32Array;
  readonly attnOutput: Matrix;
  readonly ffnNorm: Float32Array;
  readonly router: Matrix;
  readonly gate: ExpertMatrix;
  readonly up: ExpertMatrix;
  readonly down: ExpertMatrix;
}

/** All weights of a qwen3moe model, as f32. */
export interface Weights {
  readonly config: Config;
  readonly embedding: Matrix;
  readonly layers: readonly Layer[];
  readonly outputNorm: Float32Array;
  readonly output: Matrix;
}

/** Reads a qwen3moe GGUF file from a local path. */
export async function readWeights(path: string): Promise<Weights> {
  const header = await gguf(path, { allowLocalFile: true });
  const config = readConfig(header.metadata);
  const tensors = new Tensors(header, await readFile(path));
  const embedding = tensors.matrix("token_embd");
  return {
    config: { ...config, vocabulary: embedding.rows },
    embedding,
    layers: Array.from({ length: config.layers }, (_, n) => tensors.layer(`blk.${n}.`)),
    outputNorm: tensors.vector("output_norm.weight"),
    output: tensors.has("output.weight") ? tensors.matrix("output") : embedding,
  };
}

function readConfig(metadata: GGUFParseOutput["metadata"]): Omit<Config, "vocabulary"> {
  const values = metadata as unknown as Readonly<Record<string, unknown>>;
  const architecture = values["general.architecture"];
  if (architecture !== "qwen3moe") throw new Error(`the oracle knows qwen3moe, not ${architecture}`);
  /** Zero means absent, as in llama.cpp's own reading. */
  const optional = (key: string): number | undefined => Number(values[`qwen3moe.${key}`] ?? 0) || undefined;
  const required = (key: string): number => {
    const value = optional(key);
    if (value === undefined) throw new Error(`qwen3moe.${key} is missing`);
    return value;
  };
  const heads = required("attention.head_count");
  const headDim = optional("attention.key_length") ?? required("embedding_length") / heads;
  const type = values["qwen3moe.rope.scaling.type"];
  const factor = optional("rope.scaling.factor");
  const isScaled = (type === "linear" || type === "yarn") && factor !== undefined;
  return {
    layers: required("block_count"),
    dim: required("embedding_length"),
    heads,
    kvHeads: required("attention.head_count_kv"),
    headDim,
    experts: required("expert_count"),
    topK: required("expert_used_count"),
    epsilon: required("attention.layer_norm_rms_epsilon"),
    rope: {
      base: optional("rope.freq_base") ?? 10_000,
      dims: optional("rope.dimension_count") ?? headDim,
      scaling: isScaled
        ? { type, factor, originalContext: required("rope.scaling.original_context_length") }
        : undefined,
    },
  };
}

/** The tensors of a file by name; a matrix comes with the scale and bias that stand beside its weight. */
class Tensors {
  readonly #header: GGUFParseOutput;
  readonly #bytes: Uint8Array;

  constructor(header: GGUFParseOutput, bytes: Uint8Array) {
    this.#header = header;
    this.#bytes = bytes;
  }

  has(name: string): boolean {
    return this.#header.tensorInfos.some((info) => info.name === name);
  }

  vector(name: string): Float32Array {
    return this.#read(name).values;
  }

  matrix(stem: string): Matrix {
    const { values, cols, rows } = this.#read(`${stem}.weight`);
    return {
      values,
      rows,
      cols,
      scale: this.#optional(`${stem}.scale`)?.[0],
      bias: this.#optional(`${stem}.bias`),
    };
  }

  experts(stem: string): ExpertMatrix {
    const { values, cols, rows } = this.#read(`${stem}.weight`);
    return { values, rows, cols, scale: this.#optional(`${stem}.scale`) };
  }

  layer(prefix: string): Layer {
    return {
      attnNorm: this.vector(`${prefix}attn_norm.weight`),
      q: this.matrix(`${prefix}attn_q`),
      k: this.matrix(`${prefix}attn_k`),
      v: this.matrix(`${prefix}attn_v`),
      qNorm: this.vector(`${prefix}attn_q_norm.weight`),
      kNorm: this.vector(`${prefix}attn_k_norm.weight`),
      attnOutput: this.matrix(`${prefix}attn_output`),
      ffnNorm: this.vector(`${prefix}ffn_norm.weight`),
      router: this.matrix(`${prefix}ffn_gate_inp`),
      gate: this.experts(`${prefix}ffn_gate_exps`),
      up: this.experts(`${prefix}ffn_up_exps`),
      down: this.experts(`${prefix}ffn_down_exps`),
    };
  }

  #optional(name: string): Float32Array | undefined {
    return this.has(name) ? this.vector(name) : undefined;
  }

  #read(name: string): { values: Float32Array; cols: number; rows: number } {
    const info = this.#header.tensorInfos.find((candidate) => candidate.name === name);
    const type = info && tensorTypeOf(info.dtype);
    if (info === undefined || type === undefined) throw new Error(`no readable tensor ${name}`);
    const [cols = 1, rows = 1, ...outer] = info.shape.map(Number);
    const count = outer.reduce((product, size) => product * size, cols * rows);
    const start = Number(this.#header.tensorDataOffset + info.offset);
    const bytes = this.#bytes.subarray(start, start + fileBytes(type, count));
    return { values: dequantise(type, bytes, count), cols, rows };
  }
}
