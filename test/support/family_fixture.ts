/**
 * Small random models of many families, of which the repository carries the header, a prompt and what llama.cpp
 * computes for it (`test/fixtures/families/<name>.json`, made by `scripts/golden/make.ts`). The weights are not in the
 * fixture: each is a function of its tensor's name and its place in it, in arithmetic that is exact everywhere, so
 * that the file made here is the one that llama.cpp was given. Works under Node and in a page.
 */

import { halfToFloat } from "../../src/quant/floats.ts";
import { fileFormats } from "../../src/quant/formats.ts";
import { floatToHalf } from "../../src/quant/quantise.ts";
import { readGguf } from "../../src/source/gguf.ts";
import type { ModelFile } from "../../src/source/model_file.ts";
import { type MetadataEntry, type TensorEntry, type ValueType, writeGguf } from "./gguf_writer.ts";
import type { GoldenCase } from "./golden.ts";
import { seeded } from "./random.ts";

export interface FamilyFixture {
  /** Key, type (`int32[]` for an array) and value. */
  readonly metadata: readonly (readonly [string, string, unknown])[];
  /** Name, type and shape, outermost axis first. */
  readonly tensors: readonly FixtureTensor[];
  /** Standard deviation of the token embeddings. Default 1; less where the family multiplies them. */
  readonly embedding?: number;
  /** How much larger the output of a matrix is than its input. Default 1.5; less where there are many layers. */
  readonly gain?: number;
  readonly prompt: readonly number[];
  readonly greedy: readonly number[];
  readonly positions: readonly number[];
  /** Base64 of little-endian floats, positions × vocabulary. */
  readonly logits: string;
}

type FixtureTensor = readonly [name: string, type: "F16" | "F32", shape: readonly number[]];

/** What decides on the weights. */
type Header = Pick<FamilyFixture, "metadata" | "tensors" | "embedding" | "gain">;

const fixtures = import.meta.glob<FamilyFixture>("../fixtures/families/*.json", { import: "default" });
const pathOf = (name: string) => `../fixtures/families/${name}.json`;

export const familyNames = (): string[] =>
  Object.keys(fixtures).map((path) => path.slice(pathOf("").length - ".json".length, -".json".length));

/** The model as a GGUF file in memory. */
export async function familyFile(name: string): Promise<File> {
  return new File([fixtureGguf(await load(name))], `${name}.gguf`);
}

/** What that file's header says, without making any weights. */
export async function familyHeader(name: string): Promise<ModelFile> {
  const { header, size } = fixtureHeader(await load(name));
  const read = async (offset: number, bytes: number) => header.slice(offset, offset + bytes);
  return readGguf({ id: name, name: `${name}.gguf`, size, bytesFetched: 0, read, close: () => {} });
}

/** Prompt and continuation; `logits` are those of the prompt's `positions` only. */
export async function familyCase(
  name: string,
): Promise<GoldenCase & { readonly positions: readonly number[] }> {
  const { prompt, greedy, positions, logits } = await load(name);
  const bytes = Uint8Array.from(atob(logits), (char) => char.charCodeAt(0));
  return { tokens: prompt, greedy, positions, logits: new Float32Array(bytes.buffer) };
}

async function load(name: string): Promise<FamilyFixture> {
  const fixture = await fixtures[pathOf(name)]?.();
  if (!fixture) throw new Error(`no fixture ${name}`);
  return fixture;
}

/** @param as for a reference that shall compute in F32: the same weights in tensors of this type */
export function fixtureGguf(fixture: Header, as?: "F32"): Uint8Array<ArrayBuffer> {
  const tensors = fixture.tensors.map(([name, type, shape]): TensorEntry => {
    const levels = levelsOf(distribution(name.replace(/^blk\.\d+\./, ""), shape, fixture));
    const halves = type === "F16" ? Uint16Array.from(levels, floatToHalf) : undefined;
    const values = as && halves ? Float32Array.from(halves, halfToFloat) : (halves ?? levels);
    const data = pick(values, hash(name), size(shape));
    return { name, dims: shape.toReversed(), typeId: fileFormats[as ?? type].id, data };
  });
  return writeGguf({ metadata: fixture.metadata.map(metadataEntry), tensors });
}

function fixtureHeader({ metadata, tensors }: Header) {
  let end = 0;
  const entries = tensors.map(([name, type, shape]): TensorEntry => {
    const offset = end;
    end += Math.ceil((size(shape) * fileFormats[type].bytes) / 32) * 32;
    return { name, dims: shape.toReversed(), typeId: fileFormats[type].id, data: new Uint8Array(0), offset };
  });
  const header = writeGguf({ metadata: metadata.map(metadataEntry), tensors: entries });
  return { header, size: header.byteLength + end };
}

function metadataEntry([key, type, value]: FamilyFixture["metadata"][number]): MetadataEntry {
  if (!type.endsWith("[]")) return { key, type: type as ValueType, value };
  return { key, type: "array", of: type.slice(0, -2) as ValueType, value };
}

const size = (shape: readonly number[]) => shape.reduce((product, n) => product * n, 1);

/** Mean and standard deviation. */
type Distribution = readonly [mean: number, deviation: number];

/** Such that every tensor, and every detail of how it is used, shows in the logits. */
function distribution(
  name: string,
  shape: readonly number[],
  { embedding = 1, gain = 1.5 }: Header,
): Distribution {
  if (name.endsWith(".scale")) return [1, 0.2];
  if (name === "ssm_a") return [-0.8, 0.25];
  if (name === "ssm_dt.bias") return [0, 1];
  if (/^(ssm_conv1d|shortconv\.conv)\b/.test(name)) return [0, 0.5];
  if (name === "rope_freqs.weight") return [4, 1];
  if (name === "rope_factors_long.weight") return [3.75, 0.75];
  if (name === "rope_factors_short.weight") return [1, 0.1];
  if (name === "exp_probs_b.bias") return [0, 0.15];
  if (name === "attn_sinks.weight") return [0.5, 1];
  if (name.endsWith(".bias")) return [0, 0.3];
  if (name === "token_embd.weight") return [0, embedding];
  if (name.includes("norm")) return [1, 0.2];
  return [0, gain / root(shape.at(-1) ?? 1)];
}

/**
 * The values a weight can have, by the sum of three whole numbers below 2^10. Such sums lie like a bell around
 * 1534.5 with a standard deviation of 512, and reach to three times that.
 */
function levelsOf([mean, deviation]: Distribution): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: 3 * 1023 + 1 }, (_, sum) => mean + deviation * ((sum - 1534.5) / 512));
}

function pick(values: Float32Array | Uint16Array, seed: number, count: number): Uint8Array {
  const random = seeded(seed);
  const picked = values instanceof Uint16Array ? new Uint16Array(count) : new Float32Array(count);
  for (let i = 0; i < count; i++) {
    const word = random() * 2 ** 32;
    picked[i] = values[(word >>> 22) + ((word >>> 12) & 1023) + ((word >>> 2) & 1023)] as number;
  }
  return new Uint8Array(picked.buffer);
}

/** FNV-1a. */
function hash(text: string): number {
  let word = 0x811c9dc5;
  for (const char of text) word = Math.imul(word ^ (char.codePointAt(0) ?? 0), 0x01000193);
  return word;
}

/** Newton's square root: that of `Math` need not be the same everywhere. */
function root(value: number): number {
  let guess = value;
  for (let i = 0; i < 32; i++) guess = (guess + value / guess) / 2;
  return guess;
}
