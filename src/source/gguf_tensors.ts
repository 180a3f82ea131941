import type { GGUFTensorInfo } from "@huggingface/gguf";
import { SluiceError } from "../errors.ts";
import { fileBytes, fileFormats, type TensorType, tensorTypeOf } from "../quant/formats.ts";
import { badFile } from "./gguf_errors.ts";
import type { MetadataValue, TensorInfo } from "./model_file.ts";

const DEFAULT_ALIGNMENT_BYTES = 32;
/** GGML tensors have no more. */
const MAX_AXES = 4;

/** The file the tensors are in. */
interface Container {
  readonly name: string;
  readonly size: number;
}

/**
 * Checks what the header says of the tensors against the format and the file's size, in file order.
 * `headerBytes` is where the tensor list ends; the data begins at the next multiple of `alignment`.
 * @throws SluiceError `bad-model-file`, `unsupported-model` for a tensor type without a known size.
 */
export function indexTensors(
  infos: readonly GGUFTensorInfo[],
  headerBytes: number,
  alignment: MetadataValue | undefined,
  file: Container,
): TensorInfo[] {
  const step = checkAlignment(alignment, file);
  const dataStart = Math.ceil(headerBytes / step) * step;
  const seen = new Set<string>();
  const tensors = infos.map((info) => {
    if (seen.has(info.name)) {
      throw badFile(file.name, `two tensors are named ${info.name}`, { tensor: info.name });
    }
    seen.add(info.name);
    return indexTensor(info, dataStart, step, file);
  });
  checkApart(tensors, file);
  return tensors;
}

function checkAlignment(value: MetadataValue | undefined, file: Container): number {
  if (value === undefined) return DEFAULT_ALIGNMENT_BYTES;
  if (typeof value === "number" && Number.isInteger(value) && Number.isInteger(Math.log2(value)))
    return value;
  throw badFile(file.name, `general.alignment is ${String(value)}, not a power of two`, {
    alignment: String(value),
  });
}

function indexTensor(
  info: GGUFTensorInfo,
  dataStart: number,
  alignment: number,
  file: Container,
): TensorInfo {
  const { name, shape: dims } = info;
  const type = checkType(info, file);
  const count = checkShape(info, file);
  const { block } = fileFormats[type];
  const rowWeights = Number(dims[0]);
  if (rowWeights % block !== 0) {
    throw badFile(
      file.name,
      `rows of tensor ${name} have ${rowWeights} weights; ${type} stores blocks of ${block}`,
      {
        tensor: name,
        rowWeights,
        block,
      },
    );
  }
  const bytes = fileBytes(type, count);
  const relative = Number(info.offset);
  if (relative % alignment !== 0) {
    throw badFile(file.name, `tensor ${name} is at ${relative}, not a multiple of ${alignment} bytes`, {
      tensor: name,
      offset: relative,
      alignment,
    });
  }
  const offset = dataStart + relative;
  if (offset + bytes > file.size) {
    throw badFile(file.name, `tensor ${name} ends at byte ${offset + bytes}, the file has ${file.size}`, {
      tensor: name,
      needed: offset + bytes,
      size: file.size,
    });
  }
  return { name, type, shape: dims.map(Number).reverse(), offset, bytes };
}

function checkType(info: GGUFTensorInfo, file: Container): TensorType {
  const typeId: number = info.dtype;
  const type = tensorTypeOf(typeId);
  if (type) return type;
  throw new SluiceError(
    "unsupported-model",
    `tensor ${info.name} of ${file.name} has unknown type ${typeId}`,
    {
      remedy: "Use a file in a common quantisation, such as Q4_K_M.",
      details: { name: file.name, tensor: info.name, typeId },
    },
  );
}

/** The number of weights. */
function checkShape(info: GGUFTensorInfo, file: Container): number {
  const { name, shape: dims } = info;
  if (dims.length === 0 || dims.length > MAX_AXES) {
    throw badFile(file.name, `tensor ${name} has ${dims.length} axes, 1 to ${MAX_AXES} are possible`, {
      tensor: name,
      axes: dims.length,
    });
  }
  const count = dims.reduce((product, dim) => product * dim, 1n);
  if (count === 0n || count > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw badFile(file.name, `tensor ${name} has the impossible shape ${dims.join(" × ")}`, {
      tensor: name,
      shape: dims.join(" × "),
    });
  }
  return Number(count);
}

function checkApart(tensors: readonly TensorInfo[], file: Container): void {
  const inOrder = tensors.toSorted((a, b) => a.offset - b.offset);
  for (const [i, tensor] of inOrder.entries()) {
    const next = inOrder[i + 1];
    if (!next || tensor.offset + tensor.bytes <= next.offset) continue;
    const ends = tensor.offset + tensor.bytes;
    throw badFile(file.name, `tensor ${tensor.name} ends at ${ends}, ${next.name} starts at ${next.offset}`, {
      tensor: tensor.name,
      ends,
      next: next.name,
      starts: next.offset,
    });
  }
}
