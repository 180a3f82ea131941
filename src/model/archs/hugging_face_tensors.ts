import { fileBytes } from "../../quant/formats.ts";
import type { ModelFile, TensorInfo } from "../../source/model_file.ts";
import type { Config } from "./hugging_face_config.ts";
import { commonNames, globalNames, type Names, type Target } from "./hugging_face_names.ts";

/** Made anew from the configuration, or of use in training alone. */
const UNUSED = /\.rotary_emb\.|\.masked_bias$|\.attn\.bias$|\.num_batches_tracked$/;

/** The lists that hold experts, and the number of one. */
const EXPERT = /\.((?:deepspeed_)?experts|\w+_list)\.(\d+)(\.|$)/;

/** One tensor of an expert, or the name alone. */
interface Placed {
  readonly tensor: TensorInfo;
  readonly expert: number | undefined;
}

/**
 * The tensors of a model under the names and in the shapes of its GGUF file, experts stacked.
 * @param own names that count before those that most families have
 * @throws SluiceError `unsupported-model` for a tensor that is not known, `bad-model-file` for experts that are missing
 * or differ
 */
export function ggufTensors(
  file: ModelFile,
  config: Config,
  own: Names,
  {
    layers,
    dropsMore,
    unused,
  }: { readonly layers: number; readonly dropsMore: boolean; readonly unused?: RegExp | undefined },
): TensorInfo[] {
  const isTied = config.flag("tie_word_embeddings");
  const found = new Map<string, Placed[]>();
  for (const tensor of file.tensors) {
    if (UNUSED.test(tensor.name) || unused?.test(tensor.name)) continue;
    if (isTied && tensor.name === "lm_head.weight") continue;
    const { prefix, stem, ending, expert } = parse(tensor.name);
    const table = prefix === "" ? globalNames : commonNames;
    const layer = prefix === "" ? 0 : Number(prefix.slice(4, -1));
    if (layer >= layers && dropsMore) continue;
    const target = own[stem] ?? table[stem];
    if (target === undefined) throw config.unsupported(`the tensor ${tensor.name}`, "tensors that are known");
    if (layer >= layers) {
      throw config.bad(`it says ${layers} layers, but there is a tensor ${tensor.name}`, { layers, layer });
    }
    const isEach = typeof target !== "string" && "each" in target;
    for (const view of viewsOf(tensor, target, config)) {
      const own = isEach ? `${view.name}_${expert}` : view.name;
      const name = own.includes(".") ? `${prefix}${own}` : `${prefix}${own}.${ending}`;
      const list = found.get(name) ?? [];
      found.set(name, list);
      list.push({ tensor: { ...view, name }, expert: isEach ? undefined : expert });
    }
  }
  if (isTied === false && !found.has("output.weight") && !found.has("horizon_0.weight")) {
    throw config.bad("it does not tie the output to the embedding, but there is no lm_head.weight", {});
  }
  return [...found].map(([name, list]) => stack(name, list, config));
}

function parse(name: string) {
  const bare = name.replace(/^(model|transformer|language_model\.(encoder|transformer))\./, "");
  const [, layer, inLayer] = /^(?:layers|h)\.(\d+)\.(.+)$/.exec(bare) ?? [];
  const rest = inLayer ?? bare;
  const expert = EXPERT.exec(rest)?.[2];
  const [, stem, ending] = /^(.+)\.(weight|bias)$/.exec(rest) ?? [undefined, rest, "weight"];
  return {
    prefix: layer === undefined ? "" : `blk.${Number(layer)}.`,
    stem: (stem as string).replace(EXPERT, ".$1.*$3"),
    ending: ending as string,
    expert: expert === undefined ? undefined : Number(expert),
  };
}

function viewsOf(tensor: TensorInfo, target: Target, config: Config): TensorInfo[] {
  if (target === "unused") return [];
  if (typeof target === "string") return [{ ...tensor, name: target }];
  if ("each" in target) return [{ ...tensor, name: target.each }];
  if ("transposed" in target) return [columns(tensor, target.transposed, 0, tensor.shape.at(-1) ?? 0)];
  if ("cut" in target) return [cut(tensor, target.cut, target.by, config)];
  if ("byHead" in target) return heads(tensor, target.byHead, config);
  const { first, second, by } = target;
  const size = tensor.shape.at(by === "rows" ? (tensor.shape.length === 1 ? 0 : -2) : -1) ?? 0;
  if (size % 2 !== 0) {
    throw config.bad(`the tensor ${tensor.name} [${tensor.shape}] holds two matrices of equal size`, {
      rows: size,
    });
  }
  const half = size / 2;
  return [first, second].map((name, i) => {
    if (by === "columns") return columns(tensor, name, i * half, half);
    return rows(tensor, name, i * half, half);
  });
}

/** A dense matrix as those of experts: [experts, rows or columns of each, …]. */
function cut(tensor: TensorInfo, name: string, by: "rows" | "columns", config: Config): TensorInfo {
  const experts = config.required("num_experts");
  const [rows = 1, cols = 1] = tensor.shape;
  const each = (by === "rows" ? rows : cols) / experts;
  if (!Number.isInteger(each) || each < 1) {
    throw config.bad(`the tensor ${tensor.name} [${tensor.shape}] holds ${experts} experts`, {
      rows,
      cols,
      experts,
    });
  }
  if (by === "rows") return { ...tensor, name, shape: [experts, each, cols] };
  const { type, offset, bytes } = tensor;
  const one = bytes / (rows * cols);
  const slices = Array.from({ length: experts }, (_, e) => offset + e * each * one);
  const gather = { bytes: ((rows - 1) * cols + each) * one, first: 0, row: cols, col: 1 };
  return { name, type, shape: [experts, rows, each], offset, bytes, slices, gather };
}

/** Of a matrix or vector whose rows are [heads, parts, rows of a head]: each part as [heads, rows of a head, …]. */
function heads(tensor: TensorInfo, names: readonly string[], config: Config): TensorInfo[] {
  const { shape, type, offset } = tensor;
  const count = config.required("num_attention_heads", "num_heads");
  const [all = 0, ...others] = shape;
  const rows = all / count / names.length;
  if (!Number.isInteger(rows) || rows < 1) {
    const message = `the tensor ${tensor.name} [${shape}] holds ${names.length} matrices of ${count} heads`;
    throw config.bad(message, { rows: all, heads: count });
  }
  const bytes = tensor.bytes / names.length;
  const each = bytes / count;
  return names.map((name, part) => {
    const slices = Array.from({ length: count }, (_, h) => offset + (h * names.length + part) * each);
    return { name, type, shape: [count, rows, ...others], offset: slices[0] as number, bytes, slices };
  });
}

/** Rows `first` to `first + count − 1` of a matrix or vector, or of each matrix of [experts, rows, cols]. */
function rows(tensor: TensorInfo, name: string, first: number, count: number): TensorInfo {
  const { shape, type, offset } = tensor;
  const axis = Math.max(0, shape.length - 2);
  const experts = axis === 0 ? 1 : (shape[0] as number);
  const [each, rowBytes] = [tensor.bytes / experts, tensor.bytes / experts / (shape[axis] as number)];
  const slices = Array.from({ length: experts }, (_, e) => offset + e * each + first * rowBytes);
  return {
    ...{
      name,
      type,
      shape: shape.map((length, i) => (i === axis ? count : length)),
      offset: slices[0] as number,
    },
    bytes: experts * count * rowBytes,
    ...(axis === 0 ? {} : { slices }),
  };
}

/** Columns `first` to `first + count − 1` of each matrix of [experts, in, all columns], as the rows of the view. */
function columns(tensor: TensorInfo, name: string, first: number, count: number): TensorInfo {
  const [experts = 1, input = 1, all = 1] = tensor.shape;
  const bytes = tensor.bytes / experts;
  return {
    ...{ name, type: tensor.type, shape: [experts, count, input], offset: tensor.offset },
    bytes: fileBytes(tensor.type, experts * count * input),
    slices: Array.from({ length: experts }, (_, e) => tensor.offset + e * bytes),
    gather: { bytes, first, row: 1, col: all },
  };
}

/** Tensors of single experts as one: their places in the order of the experts. */
function stack(name: string, list: readonly Placed[], config: Config): TensorInfo {
  const [first] = list as [Placed];
  if (first.expert === undefined) {
    if (list.length === 1) return first.tensor;
    throw config.bad(`${list.length} of its tensors are ${name}`, { tensors: list.length, tensor: name });
  }
  const byExpert = new Map(list.map(({ tensor, expert }) => [expert, tensor]));
  const { type, shape } = first.tensor;
  const inOrder = Array.from({ length: list.length }, (_, e) => {
    const tensor = byExpert.get(e);
    if (!tensor)
      throw config.bad(`${list.length} experts have ${name}, but not expert ${e}`, {
        experts: list.length,
        expert: e,
      });
    if (tensor.type === type && String(tensor.shape) === String(shape)) return tensor;
    throw config.bad(
      `${name} of expert ${e} is ${tensor.type} [${tensor.shape}], of another ${type} [${shape}]`,
      {
        expert: e,
        actual: String(tensor.shape),
        expected: String(shape),
      },
    );
  });
  return {
    ...{ name, type, shape: [list.length, ...shape], offset: (inOrder[0] as TensorInfo).offset },
    bytes: inOrder.reduce((sum, { bytes }) => sum + bytes, 0),
    slices: inOrder.map(({ offset }) => offset),
  };
}
