/** GGUF files as folders in the layout of Hugging Face, as their converter would have found them. */
import { BlobSource } from "../../src/source/blob.ts";
import { readGguf } from "../../src/source/gguf.ts";
import type { ModelFile } from "../../src/source/model_file.ts";
import { GgufEdit } from "../model/gguf_edit.ts";
import { type SafetensorsEntry, writeSafetensors } from "./safetensors_writer.ts";

/** How a family's own files differ from what most have. */
export interface FamilyFolder {
  readonly modelType: string;
  /** Of GGUF tensors, without layer and ending: their own names. `*` is the number of an expert. */
  readonly names?: Readonly<Record<string, string>>;
  /** Rows of q and k are in the order of their heads' halves, not of pairs. */
  readonly isPermuted?: boolean;
  /** Tensors that are put together: the name, and the GGUF names of its parts, by rows. */
  readonly joined?: Readonly<Record<string, readonly string[]>>;
  /** GGUF tensors and own names, after tensors were joined, whose matrices have rows and columns exchanged. */
  readonly transposed?: readonly string[];
  readonly config?: (key: (name: string) => number) => Readonly<Record<string, unknown>>;
}

export interface FolderOptions {
  /** Each expert's matrices as tensors of their own, or gate and up of all in one. Default single. */
  readonly experts?: "single" | "fused";
  /** Files the tensors are spread over. Default 1. */
  readonly shards?: number;
  readonly texts?: Readonly<Record<string, string>>;
  readonly config?: Readonly<Record<string, unknown>>;
}

const NAMES: Readonly<Record<string, string>> = {
  token_embd: "model.embed_tokens",
  output_norm: "model.norm",
  output: "lm_head",
  attn_norm: "input_layernorm",
  ffn_norm: "post_attention_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  attn_q_norm: "self_attn.q_norm",
  attn_k_norm: "self_attn.k_norm",
  ffn_gate_inp: "mlp.gate",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
  ffn_gate_exps: "mlp.experts.*.gate_proj",
  ffn_up_exps: "mlp.experts.*.up_proj",
  ffn_down_exps: "mlp.experts.*.down_proj",
  ffn_gate_up_exps: "mlp.experts.gate_up_proj",
  ffn_gate_shexp: "mlp.shared_expert.gate_proj",
  ffn_up_shexp: "mlp.shared_expert.up_proj",
  ffn_down_shexp: "mlp.shared_expert.down_proj",
  ffn_gate_inp_shexp: "mlp.shared_expert_gate",
};
const FUSED = { "mlp.experts.gate_up_proj": ["ffn_gate_exps", "ffn_up_exps"] };

/** A GGUF file without what such a folder cannot say: scales beside matrices, factors of ropes, heads of classifiers. */
export async function withoutScales(gguf: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const file = await readGguf(new BlobSource("gguf", "gguf", new Blob([gguf])));
  const edit = new GgufEdit(gguf);
  for (const { name } of file.tensors) if (/scale$|^cls\.|^rope_freqs/.test(name)) edit.remove(name);
  return edit.bytes();
}

/** The files of the folder; matrices keep their bytes. */
export async function folderOf(
  gguf: Uint8Array<ArrayBuffer>,
  family: FamilyFolder,
  options: FolderOptions = {},
): Promise<File[]> {
  const file = await readGguf(new BlobSource("gguf", "gguf", new Blob([gguf])));
  const entries = entriesOf(file, gguf, family, options);
  const config = { ...configOf(file, family), ...options.config };
  const texts = { "config.json": JSON.stringify(config), ...options.texts };
  return [...filesOf(entries, options.shards ?? 1), ...textFiles(texts)];
}

/** A folder of these tensors in F32, in one file, and its configuration. */
export function floatFolder(
  tensors: ReadonlyMap<
    string,
    { readonly shape: readonly number[]; readonly values: Float32Array<ArrayBuffer> }
  >,
  config: Readonly<Record<string, unknown>>,
): File[] {
  const entries = [...tensors].map(([name, { shape, values }]) => {
    return { name, dtype: "F32", shape, data: new Uint8Array(values.buffer) };
  });
  return [...filesOf(entries, 1), ...textFiles({ "config.json": JSON.stringify(config) })];
}

export function textFiles(texts: Readonly<Record<string, string>>): File[] {
  return Object.entries(texts).map(([name, text]) => new File([text], name));
}

/** `model.safetensors`, or so many files by turns and their index. */
export function filesOf(entries: readonly SafetensorsEntry[], shards: number): File[] {
  if (shards === 1) return [new File([writeSafetensors(entries)], "model.safetensors")];
  const digits = (n: number) => String(n).padStart(5, "0");
  const names = Array.from(
    { length: shards },
    (_, i) => `model-${digits(i + 1)}-of-${digits(shards)}.safetensors`,
  );
  const files = names.map((name, i) => {
    return new File([writeSafetensors(entries.filter((_, e) => e % shards === i))], name);
  });
  const map = Object.fromEntries(entries.map(({ name }, e) => [name, names[e % shards]]));
  return [...files, ...textFiles({ "model.safetensors.index.json": JSON.stringify({ weight_map: map }) })];
}

function entriesOf(
  file: ModelFile,
  bytes: Uint8Array,
  { names = {}, isPermuted = false, joined = {}, transposed = [] }: FamilyFolder,
  { experts = "single" }: FolderOptions,
): SafetensorsEntry[] {
  const key = metadataOf(file);
  const heads: Readonly<Record<string, number>> = {
    attn_q: key("attention.head_count"),
    attn_k: key("attention.head_count_kv"),
  };
  const together = experts === "fused" ? { ...joined, ...FUSED } : joined;
  const waiting = new Map<string, SafetensorsEntry[]>();
  const entries: SafetensorsEntry[] = [];
  for (const tensor of file.tensors) {
    const [, layer, stem = tensor.name, ending = "weight"] =
      /^(blk\.\d+\.)?([^.]+)\.(.+)$/.exec(tensor.name) ?? [];
    const prefix = layer === undefined ? "" : `model.layers.${/\d+/.exec(layer)}.`;
    let data = bytes.subarray(tensor.offset, tensor.offset + tensor.bytes);
    const count = heads[stem];
    if (isPermuted && count !== undefined) data = byHalves(data, tensor.shape[0] as number, count);
    const plain = { name: "", dtype: tensor.type, shape: tensor.shape, data };
    const entry = transposed.includes(stem) ? transpose(plain) : plain;
    const group = Object.entries(together).find(([, parts]) => parts.includes(stem));
    if (group) {
      const [into, parts] = group;
      const name = `${prefix}${into}.${ending}`;
      const list = waiting.get(name) ?? [];
      waiting.set(name, list);
      list[parts.indexOf(stem)] = entry;
      if (list.filter(Boolean).length === parts.length) entries.push(joinRows(name, list));
      continue;
    }
    const own = names[stem] ?? NAMES[stem];
    if (own === undefined) throw new Error(`no name for ${tensor.name}`);
    if (!own.includes("*")) {
      // Stacks of experts are no modules, so their names have no ending, unless they were linear layers once.
      const isBare = tensor.shape.length === 3 && !own.endsWith("_linear");
      entries.push({ ...entry, name: prefix + own + (isBare ? "" : `.${ending}`) });
    } else if (experts === "fused") entries.push({ ...entry, name: prefix + own.replace(".*", "") });
    else {
      const each = tensor.bytes / (tensor.shape[0] as number);
      for (let e = 0; e < (tensor.shape[0] as number); e++) {
        const one = data.subarray(e * each, (e + 1) * each);
        entries.push({
          ...entry,
          name: `${prefix}${own.replace("*", String(e))}.${ending}`,
          shape: tensor.shape.slice(1),
          data: one,
        });
      }
    }
  }
  const isTransposed = ({ name }: SafetensorsEntry) => transposed.some((own) => name.endsWith(own));
  return entries.map((entry) => (isTransposed(entry) ? transpose(entry) : entry));
}

/** Of 16-bit numbers, each matrix of a stack by itself. */
function transpose(entry: SafetensorsEntry): SafetensorsEntry {
  const [rows, cols] = entry.shape.slice(-2) as [number, number];
  const from = new Uint16Array(entry.data.slice().buffer);
  const to = new Uint16Array(from.length);
  for (let at = 0; at < from.length; at++) {
    const inMatrix = at % (rows * cols);
    const [row, col] = [Math.floor(inMatrix / cols), inMatrix % cols];
    to[at - inMatrix + col * rows + row] = from[at] as number;
  }
  return { ...entry, shape: [...entry.shape.slice(0, -2), cols, rows], data: new Uint8Array(to.buffer) };
}

/** Rows of pairs (2j, 2j + 1) of each head to rows j of the first and of the second half. */
function byHalves(data: Uint8Array, rows: number, heads: number): Uint8Array {
  const out = new Uint8Array(data.length);
  const [rowBytes, size] = [data.length / rows, rows / heads];
  for (let row = 0; row < rows; row++) {
    const [head, j, half] = [Math.floor(row / size), Math.floor((row % size) / 2), row % 2];
    const to = head * size + (half * size) / 2 + j;
    out.set(data.subarray(row * rowBytes, (row + 1) * rowBytes), to * rowBytes);
  }
  return out;
}

/** [rows, cols] one behind the other, of [experts, rows, cols] each expert's. */
function joinRows(name: string, parts: readonly SafetensorsEntry[]): SafetensorsEntry {
  const [first] = parts as [SafetensorsEntry];
  const axis = Math.max(0, first.shape.length - 2);
  const rows = parts.reduce((sum, { shape }) => sum + (shape[axis] as number), 0);
  const shape = first.shape.map((length, i) => (i === axis ? rows : length));
  const experts = axis === 1 ? (first.shape[0] as number) : 1;
  const pieces = Array.from({ length: experts }, (_, e) =>
    parts.map(({ data }) => data.subarray((e * data.length) / experts, ((e + 1) * data.length) / experts)),
  ).flat();
  const data = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    data.set(piece, at);
    at += piece.length;
  }
  const isBare = name.endsWith("_proj.weight") && axis === 1;
  return { name: isBare ? name.replace(/\.weight$/, "") : name, dtype: first.dtype, shape, data };
}

function metadataOf(file: ModelFile): (name: string) => number {
  const architecture = String(file.metadata["general.architecture"]);
  return (name) => Number(file.metadata[`${architecture}.${name}`] ?? 0);
}

function configOf(file: ModelFile, { modelType, config }: FamilyFolder): Readonly<Record<string, unknown>> {
  const key = metadataOf(file);
  const or = (value: number, other: number) => (value === 0 ? other : value);
  const experts = key("expert_count");
  return {
    model_type: modelType,
    hidden_size: key("embedding_length"),
    num_hidden_layers: key("block_count"),
    num_attention_heads: key("attention.head_count"),
    num_key_value_heads: key("attention.head_count_kv"),
    head_dim: key("attention.key_length"),
    max_position_embeddings: key("context_length"),
    intermediate_size: key("feed_forward_length"),
    rms_norm_eps: key("attention.layer_norm_rms_epsilon"),
    rope_theta: key("rope.freq_base"),
    hidden_act: "silu",
    tie_word_embeddings: !file.tensors.some(({ name }) => name === "output.weight"),
    ...(experts > 0
      ? {
          num_experts: experts,
          num_experts_per_tok: key("expert_used_count"),
          moe_intermediate_size: or(key("expert_feed_forward_length"), key("feed_forward_length")),
        }
      : {}),
    ...config?.(key),
  };
}
