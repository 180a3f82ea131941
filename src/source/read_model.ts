import { readGguf } from "./gguf.ts";
import { readHuggingFace } from "./hugging_face.ts";
import type { ModelFile } from "./model_file.ts";
import type { ModelFiles } from "./model_files.ts";
import type { Source } from "./source.ts";
import { joinParts } from "./split_gguf.ts";

/**
 * Reads and checks the headers of what `openSource` opened; other files of the model are opened as they are named.
 * @param first reads the first file, of which more than the header may come
 * @throws SluiceError `bad-model-file`, `unsupported-model`, `network`, `aborted`
 */
export async function readModel(
  files: ModelFiles,
  first: Source = files,
  signal?: AbortSignal,
): Promise<ModelFile> {
  if (files.files.length === 0) return readHuggingFace(files, signal);
  return joinParts(files, await readGguf(first, signal), signal);
}
