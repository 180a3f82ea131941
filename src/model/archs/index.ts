import { SluiceError } from "../../errors.ts";
import type { ModelFile } from "../../source/model_file.ts";
import type { ModelPlan } from "../plan.ts";
import { bailingmoe } from "./bailingmoe.ts";
import { deepseek } from "./deepseek.ts";
import { ernie4_5moe } from "./ernie4_5moe.ts";
import { granitemoe } from "./granitemoe.ts";
import { llama } from "./llama.ts";
import { olmoe } from "./olmoe.ts";
import { qwen2moe } from "./qwen2moe.ts";
import { qwen3 } from "./qwen3.ts";
import { qwen3moe } from "./qwen3moe.ts";
import { FileReader } from "./reader.ts";

/** Architecture mappings by the name a GGUF file gives in `general.architecture`. */
const archs: Readonly<Record<string, (reader: FileReader) => ModelPlan>> = {
  bailingmoe,
  deepseek,
  "ernie4_5-moe": ernie4_5moe,
  granitemoe,
  llama,
  olmoe,
  qwen2moe,
  qwen3,
  qwen3moe,
};

/**
 * The plan of a model file.
 * @throws SluiceError `unsupported-model` for an unknown architecture; `bad-model-file` for missing tensors,
 * and for metadata that contradicts itself or the tensors, with both numbers
 */
export function planModel(file: ModelFile): ModelPlan {
  const reader = new FileReader(file);
  const mapping = Object.hasOwn(archs, reader.architecture) ? archs[reader.architecture] : undefined;
  if (!mapping) {
    throw new SluiceError("unsupported-model", `no mapping for the architecture ${reader.architecture}`, {
      remedy: `Use a model of one of these architectures: ${Object.keys(archs).join(", ")}.`,
      details: { architecture: reader.architecture },
    });
  }
  return mapping(reader);
}
