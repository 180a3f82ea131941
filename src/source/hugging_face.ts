import { badFile } from "./gguf_errors.ts";
import type { ModelFile, TensorInfo } from "./model_file.ts";
import { inBatches, type ModelFiles, type PlacedFile } from "./model_files.ts";
import { readSafetensors } from "./safetensors.ts";

export const CONFIG = "config.json";
const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";
/** Kept where they are there: what the page side makes a tokenizer of. */
const TEXTS = ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"];

export const MAX_CONFIG_BYTES = 16 * 2 ** 20;
const MAX_TEXT_BYTES = 100_000_000;
const MAX_SHARDS = 4096;
/** A name, and not a path out of the folder. */
const SHARD = /^[^/\\:]+\.safetensors$/;

/**
 * Reads a folder in the layout of Hugging Face: `config.json`, the headers of `model.safetensors` or of the files that
 * `model.safetensors.index.json` names, and the texts of the tokenizer.
 * @throws SluiceError `bad-model-file` for files that are missing, damaged or do not belong together,
 * `unsupported-model` for a tensor type that is not readable, `network`, `aborted`
 */
export async function readHuggingFace(files: ModelFiles, signal?: AbortSignal): Promise<ModelFile> {
  const config = await files.text(CONFIG, MAX_CONFIG_BYTES, signal);
  if (config === undefined) {
    throw badFile(files.name, `there is no ${CONFIG}, which says what its tensors are`, { missing: CONFIG });
  }
  const index = await files.text(INDEX, MAX_TEXT_BYTES, signal);
  const tensors = await (index === undefined ? single(files, signal) : sharded(files, index, signal));
  const metadata: Record<string, string> = { [CONFIG]: config };
  for (const name of TEXTS) {
    const text = await files.text(name, MAX_TEXT_BYTES, signal);
    if (text !== undefined) metadata[name] = text;
  }
  return { format: "safetensors", name: files.name, size: files.size, files: files.files, metadata, tensors };
}

async function single(files: ModelFiles, signal: AbortSignal | undefined): Promise<TensorInfo[]> {
  const [file] = await files.add([SINGLE], signal);
  return tensorsOf(file as PlacedFile, signal);
}

async function tensorsOf(
  { source, start }: PlacedFile,
  signal: AbortSignal | undefined,
): Promise<TensorInfo[]> {
  const tensors = await readSafetensors(source, signal);
  return tensors.map((tensor) => ({ ...tensor, offset: tensor.offset + start }));
}

async function sharded(
  files: ModelFiles,
  index: string,
  signal: AbortSignal | undefined,
): Promise<TensorInfo[]> {
  const shardOf = readIndex(index);
  const names = [...new Set(shardOf.values())];
  if (names.length > MAX_SHARDS) {
    throw badFile(INDEX, `it names ${names.length} files, more than ${MAX_SHARDS}`, {
      files: names.length,
      most: MAX_SHARDS,
    });
  }
  const placed = await files.add(names, signal);
  const lists = await inBatches(placed, (file) => tensorsOf(file, signal));
  const found = new Map<string, string>();
  const tensors: TensorInfo[] = [];
  for (const [i, list] of lists.entries()) {
    const shard = names[i] as string;
    for (const tensor of list) {
      const other = found.get(tensor.name);
      if (other !== undefined) {
        const details = { tensor: tensor.name, first: other, second: shard };
        throw badFile(INDEX, `${other} and ${shard} both have a tensor ${tensor.name}`, details);
      }
      found.set(tensor.name, shard);
      tensors.push(tensor);
    }
  }
  for (const [tensor, shard] of shardOf) {
    const actual = found.get(tensor);
    if (actual === shard) continue;
    const where = actual === undefined ? "no file has" : `${actual} has`;
    throw badFile(INDEX, `it says that ${shard} has the tensor ${tensor}, which ${where}`, {
      tensor,
      expected: shard,
      actual: actual ?? "none",
    });
  }
  return tensors;
}

/** Files by tensor. */
function readIndex(text: string): Map<string, string> {
  let index: unknown;
  try {
    index = JSON.parse(text);
  } catch (cause) {
    throw badFile(INDEX, `its ${text.length} characters are not JSON`, { characters: text.length }, cause);
  }
  const map = (index as { readonly weight_map?: unknown } | null)?.weight_map;
  const entries = typeof map === "object" && map !== null && !Array.isArray(map) ? Object.entries(map) : [];
  if (entries.length === 0) throw badFile(INDEX, "it has no weight_map", {});
  for (const [tensor, file] of entries) {
    if (typeof file === "string" && SHARD.test(file)) continue;
    throw badFile(
      INDEX,
      `it says that ${tensor} is in ${JSON.stringify(file)}, which is no safetensors file`,
      {
        tensor,
        file: String(file),
      },
    );
  }
  return new Map(entries as [string, string][]);
}
