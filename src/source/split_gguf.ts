import { readGguf } from "./gguf.ts";
import { badFile } from "./gguf_errors.ts";
import type { ModelFile, TensorInfo } from "./model_file.ts";
import { inBatches, type ModelFiles, type PlacedFile } from "./model_files.ts";

/** Name of the first file of a model that is split. */
export const FIRST_PART = /-00001-of-\d{5}\.gguf$/i;
const PART = /^(.*)-(\d{5})-of-(\d{5})(\.gguf)$/i;

/**
 * The model that `first`, the only file of `files` so far, is a part of: `first` itself unless its metadata says
 * `split.count`. The other parts lie beside it, as `<name>-00002-of-000NN.gguf` and so on; each part's header is
 * checked by itself, and the tensors of all are put together.
 * @throws SluiceError `bad-model-file` for parts that are missing or do not belong together, with both numbers
 */
export async function joinParts(
  files: ModelFiles,
  first: ModelFile,
  signal?: AbortSignal,
): Promise<ModelFile> {
  const count = first.metadata["split.count"];
  if (typeof count !== "number" || count < 2) return first;
  checkPart(first, 0, count);
  const [, stem, , total, ending] = PART.exec(first.name) ?? [];
  if (stem === undefined || Number(total) !== count) {
    throw badFile(
      first.name,
      `it is the first of ${count} files, and should be called …-00001-of-${digits(count)}.gguf`,
      {
        parts: count,
        inName: Number(total ?? 0),
      },
    );
  }
  const names = Array.from({ length: count - 1 }, (_, i) => `${stem}-${digits(i + 2)}-of-${total}${ending}`);
  const placed = await files.add(names, signal);
  const tensors: TensorInfo[] = [...first.tensors];
  const parts = await inBatches(placed, ({ source }) => readGguf(source, signal));
  for (const [i, part] of parts.entries()) {
    checkPart(part, i + 1, count);
    const { start } = placed[i] as PlacedFile;
    for (const tensor of part.tensors) tensors.push({ ...tensor, offset: tensor.offset + start });
  }
  checkTensors(first, tensors);
  return { ...first, size: files.size, files: files.files, tensors };
}

function digits(part: number): string {
  return String(part).padStart(5, "0");
}

function checkPart({ name, metadata }: ModelFile, index: number, count: number): void {
  const [part, parts] = [metadata["split.no"], metadata["split.count"]];
  if (part === index && parts === count) return;
  const isFirst = index === 0 && typeof part === "number" && part < count;
  const what = `it says it is part ${said(part, 1)} of ${said(parts)}, part ${index + 1} of ${count} was expected`;
  throw badFile(name, isFirst ? `${what}; give the first part` : what, {
    part: said(part, 1),
    parts: said(parts),
    expectedPart: index + 1,
    expectedParts: count,
  });
}

function said(value: unknown, more = 0): string | number {
  return typeof value === "number" ? value + more : String(value);
}

function checkTensors({ name, metadata }: ModelFile, tensors: readonly TensorInfo[]): void {
  const expected = metadata["split.tensors.count"];
  if (expected !== undefined && expected !== tensors.length) {
    const message = `its parts have ${tensors.length} tensors, and should have ${String(expected)}`;
    throw badFile(name, message, { tensors: tensors.length, expected: String(expected) });
  }
  const seen = new Set<string>();
  for (const tensor of tensors) {
    if (seen.has(tensor.name))
      throw badFile(name, `two parts have a tensor ${tensor.name}`, { tensor: tensor.name });
    seen.add(tensor.name);
  }
}
