/**
 * Writes a qwen3moe GGUF of any size with seeded random weights, most of them in experts:
 * `node scripts/ts.mjs test/support/random_model.ts OUT.gguf [--mib 220] [--layers 8] [--experts 64] [--top-k 2]
 * [--width N] [--hidden N] [--type Q4_0|Q8_0|F16] [--seed 1]`
 */
import { fileBytes, fileFormats } from "../../src/quant/formats.ts";
import { type MetadataEntry, writeGguf } from "./gguf_writer.ts";

export type RandomModelType = "Q4_0" | "Q8_0" | "F16";

export interface RandomModelOptions {
  /** Size of the file in MiB, met to a few percent, where `width` and `hidden` are not both given. Default 220. */
  readonly mib?: number;
  /** Default 8. */
  readonly layers?: number;
  /** Per layer. Default 64. */
  readonly experts?: number;
  /** Experts per token. Default 2. */
  readonly topK?: number;
  /** Multiples of 64 and 32; default: near each other, so that the file has `mib`. */
  readonly width?: number;
  readonly hidden?: number;
  /** Of the matrices. Default Q4_0. */
  readonly type?: RandomModelType;
  /** Default 1. */
  readonly seed?: number;
}

interface Tensor {
  readonly name: string;
  readonly type: RandomModelType | "F32";
  /** Innermost axis first. */
  readonly dims: readonly number[];
  readonly bytes: number;
}

interface Shape {
  readonly layers: number;
  readonly experts: number;
  readonly width: number;
  readonly hidden: number;
  readonly type: RandomModelType;
}

const VOCABULARY = 512;
const HEAD_SIZE = 64;
const CONTEXT_TOKENS = 4096;
const ALIGNMENT_BYTES = 32;
/** Whole blocks of every type, and never more of the file than this in memory. */
const CHUNK_WEIGHTS = 2 ** 18;

/** The file in pieces of at most 1 MiB, in order; equal options, equal bytes. */
export function* randomModel(options: RandomModelOptions = {}): Generator<Uint8Array<ArrayBuffer>> {
  const shape = shapeOf(options);
  const tensors = tensorsOf(shape);
  let end = 0;
  const entries = tensors.map(({ name, type, dims, bytes }) => {
    const entry = { name, dims, typeId: fileFormats[type].id, data: new Uint8Array(0), offset: end };
    end = Math.ceil((end + bytes) / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
    return entry;
  });
  yield writeGguf({ metadata: metadataOf(shape, options.topK ?? 2), tensors: entries });
  const words = randomWords(options.seed ?? 1);
  for (const tensor of tensors) {
    const count = tensor.dims.reduce((product, dim) => product * dim, 1);
    for (let done = 0; done < count; done += CHUNK_WEIGHTS) {
      yield weights(tensor, Math.min(CHUNK_WEIGHTS, count - done), words);
    }
    yield new Uint8Array(-tensor.bytes & (ALIGNMENT_BYTES - 1));
  }
}

/** Writes such a file under Node, without holding more than a piece of it. Returns its size in bytes. */
export async function writeRandomModel(path: string, options: RandomModelOptions = {}): Promise<number> {
  const { open } = await import("node:fs/promises");
  const file = await open(path, "w");
  try {
    let bytes = 0;
    for (const piece of randomModel(options)) {
      await file.writeFile(piece);
      bytes += piece.byteLength;
    }
    return bytes;
  } finally {
    await file.close();
  }
}

function shapeOf(options: RandomModelOptions): Shape {
  const { mib = 220, layers = 8, experts = 64, type = "Q4_0" } = options;
  const weightsOf = (bytes: number) => bytes / fileBytes(type, 32) / (layers * experts * 3 * (1 / 32));
  const bytes = mib * 2 ** 20;
  const width = options.width ?? Math.max(HEAD_SIZE, 2 ** Math.round(Math.log2(Math.sqrt(weightsOf(bytes)))));
  const dense = tensorsOf({ layers, experts, width, hidden: 0, type }).reduce((sum, t) => sum + t.bytes, 0);
  const room = weightsOf(Math.max(0, bytes - dense)) / width;
  const hidden = options.hidden ?? Math.max(32, Math.round(room / 32) * 32);
  return { layers, experts, width, hidden, type };
}

function tensorsOf({ layers, experts, width, hidden, type }: Shape): Tensor[] {
  const heads = width / HEAD_SIZE;
  const keys = kvHeads(heads) * HEAD_SIZE;
  const tensor = (name: string, dims: readonly number[], of: Tensor["type"] = type): Tensor => {
    const count = dims.reduce((product, dim) => product * dim, 1);
    return { name: `${name}.weight`, type: of, dims, bytes: fileBytes(of, count) };
  };
  const layer = (l: number): Tensor[] => [
    tensor(`blk.${l}.attn_norm`, [width], "F32"),
    tensor(`blk.${l}.attn_q`, [width, width]),
    tensor(`blk.${l}.attn_k`, [width, keys]),
    tensor(`blk.${l}.attn_v`, [width, keys]),
    tensor(`blk.${l}.attn_q_norm`, [HEAD_SIZE], "F32"),
    tensor(`blk.${l}.attn_k_norm`, [HEAD_SIZE], "F32"),
    tensor(`blk.${l}.attn_output`, [width, width]),
    tensor(`blk.${l}.ffn_norm`, [width], "F32"),
    tensor(`blk.${l}.ffn_gate_inp`, [width, experts], "F32"),
    tensor(`blk.${l}.ffn_gate_exps`, [width, hidden, experts]),
    tensor(`blk.${l}.ffn_up_exps`, [width, hidden, experts]),
    tensor(`blk.${l}.ffn_down_exps`, [hidden, width, experts]),
  ];
  return [
    tensor("token_embd", [width, VOCABULARY]),
    ...Array.from({ length: layers }, (_, l) => layer(l)).flat(),
    tensor("output_norm", [width], "F32"),
    tensor("output", [width, VOCABULARY]),
  ];
}

function kvHeads(heads: number): number {
  return heads % 2 === 0 ? heads / 2 : heads;
}

function metadataOf({ layers, experts, width, hidden }: Shape, topK: number): MetadataEntry[] {
  const heads = width / HEAD_SIZE;
  const counts = {
    block_count: layers,
    context_length: CONTEXT_TOKENS,
    embedding_length: width,
    feed_forward_length: hidden,
    "attention.head_count": heads,
    "attention.head_count_kv": kvHeads(heads),
    "attention.key_length": HEAD_SIZE,
    "attention.value_length": HEAD_SIZE,
    expert_count: experts,
    expert_used_count: topK,
    expert_feed_forward_length: hidden,
    vocab_size: VOCABULARY,
  };
  return [
    { key: "general.architecture", type: "string", value: "qwen3moe" },
    { key: "general.name", type: "string", value: "random" },
    ...Object.entries(counts).map(
      ([name, value]): MetadataEntry => ({ key: `qwen3moe.${name}`, type: "uint32", value }),
    ),
    { key: "qwen3moe.rope.freq_base", type: "float32", value: 10_000 },
    { key: "qwen3moe.attention.layer_norm_rms_epsilon", type: "float32", value: 1e-6 },
    { key: "tokenizer.ggml.model", type: "string", value: "no_vocab" },
  ];
}

type Words = (count: number) => Uint32Array<ArrayBuffer>;

/** Random 32-bit words: Marsaglia's xorshift, which costs less than the disk does. */
function randomWords(seed: number): Words {
  let state = Math.imul(seed, 0x9e3779b9) | 1;
  return (count) => {
    const words = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      words[i] = state;
    }
    return words;
  };
}

/** `count` weights whose products with an input of mean square 1 have a mean square near 1. */
function weights({ type, dims }: Tensor, count: number, words: Words): Uint8Array<ArrayBuffer> {
  const scale = 1 / Math.sqrt(dims[0] ?? 1);
  switch (type) {
    case "F32":
      return dims.length === 1 ? near1(words(count)) : uniform(words(count), 2 * scale);
    case "F16":
      return halves(words(count / 2), scale);
    case "Q4_0":
      // Values -8 to 7 have a standard deviation of 4.6.
      return blocks(fileFormats.Q4_0, count, scale / 4.6, words);
    case "Q8_0":
      // Values -128 to 127: 74.
      return blocks(fileFormats.Q8_0, count, scale / 74, words);
  }
}

/** For norms: 0.5 to 1.5. */
function near1(words: Uint32Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Float32Array.from(words, (word) => 0.5 + word / 2 ** 32).buffer);
}

function uniform(words: Uint32Array, deviation: number): Uint8Array<ArrayBuffer> {
  const width = deviation * Math.sqrt(12);
  return new Uint8Array(Float32Array.from(words, (word) => (word / 2 ** 32 - 0.5) * width).buffer);
}

/** Random signs and mantissas under one exponent. */
function halves(words: Uint32Array<ArrayBuffer>, deviation: number): Uint8Array<ArrayBuffer> {
  const exponent = halfExponent(deviation);
  const both = exponent | (exponent << 16);
  for (const [i, word] of words.entries()) words[i] = (word & 0x83ff83ff) | both;
  return new Uint8Array(words.buffer);
}

/**
 * Random bytes, the first two of each block a scale of its own near `scale`, of either sign: the values of Q4_0
 * and Q8_0 lean to the negative, and without that every output would share a direction.
 */
function blocks(
  { block, bytes }: { readonly block: number; readonly bytes: number },
  count: number,
  scale: number,
  words: Words,
): Uint8Array<ArrayBuffer> {
  const length = (count / block) * bytes;
  const data = new Uint8Array(words(Math.ceil(length / 4)).buffer, 0, length);
  const exponent = halfExponent(scale) >> 8;
  for (let at = 0; at < length; at += bytes) data[at + 1] = ((data[at + 1] ?? 0) & 0x83) | exponent;
  return data;
}

/** Bits of the largest power of two in f16 that is at most `value` ÷ 1.4, the mean of a random mantissa. */
function halfExponent(value: number): number {
  return Math.max(1, 15 + Math.floor(Math.log2(value / 1.4) + 0.5)) << 10;
}

async function main(): Promise<void> {
  const { parseArgs } = await import("node:util");
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      mib: { type: "string" },
      layers: { type: "string" },
      experts: { type: "string" },
      "top-k": { type: "string" },
      width: { type: "string" },
      hidden: { type: "string" },
      type: { type: "string" },
      seed: { type: "string" },
    },
  });
  const [path] = positionals;
  if (path === undefined || positionals.length !== 1) throw new Error("give the path to write, once");
  const { type, ...numbers } = values;
  if (type !== undefined && !["Q4_0", "Q8_0", "F16"].includes(type)) throw new Error(`no type ${type} here`);
  const options = Object.fromEntries(
    Object.entries(numbers).map(([name, value]) => [name === "top-k" ? "topK" : name, Number(value)]),
  );
  const bytes = await writeRandomModel(path, type ? { ...options, type: type as RandomModelType } : options);
  console.log(`${path}: ${bytes} bytes`);
}

if (globalThis.process?.argv[1]?.endsWith("random_model.ts")) await main();
