import { readGguf } from "../../src/source/gguf.ts";
import type { Metadata, ModelFile, TensorInfo } from "../../src/source/model_file.ts";
import { openSource } from "../../src/source/open.ts";
import { specOf } from "../../src/source/spec.ts";
import { sourceOf } from "../support/engine.ts";

/** What a model file's header says. */
export async function headerOf(url: URL): Promise<ModelFile> {
  const source = await openSource(specOf(await sourceOf(url)));
  return readGguf(source);
}

export interface Changes {
  /** Undefined takes a key away. */
  readonly metadata?: Readonly<Record<string, Metadata[string] | undefined>>;
  /** Changes tensors whose name ends like this; undefined takes them away. */
  readonly tensors?: Readonly<Record<string, Partial<TensorInfo> | undefined>>;
}

/** A copy of `file` whose header says something else. */
export function changed(file: ModelFile, { metadata = {}, tensors = {} }: Changes): ModelFile {
  const entries = Object.entries({ ...file.metadata, ...metadata });
  const known = entries.filter((entry): entry is [string, Metadata[string]] => entry[1] !== undefined);
  const ends = Object.entries(tensors);
  return {
    ...file,
    metadata: Object.fromEntries(known),
    tensors: file.tensors.flatMap((tensor) => {
      const change = ends.find(([end]) => tensor.name.endsWith(end));
      if (!change) return [tensor];
      return change[1] ? [{ ...tensor, ...change[1] }] : [];
    }),
  };
}
