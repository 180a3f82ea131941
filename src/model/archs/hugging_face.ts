import { SluiceError } from "../../errors.ts";
import type { ModelFile } from "../../source/model_file.ts";
import { Config } from "./hugging_face_config.ts";
import { families } from "./hugging_face_families.ts";
import { commonKeys } from "./hugging_face_keys.ts";
import { ggufTensors } from "./hugging_face_tensors.ts";

/**
 * A model in the layout of Hugging Face as its GGUF file would have it, so that one mapping serves both: metadata under
 * the keys and tensors under the names of GGUF. Weights stay what and where they are; where the converter of llama.cpp
 * changes them the mapping asks `FileReader.permutesRope`, and what it cannot ask for is refused.
 * @throws SluiceError `unsupported-model` for a `model_type`, a setting or a tensor that is not known, `bad-model-file`
 * for a configuration that is damaged or contradicts the tensors
 */
export function fromHuggingFace(file: ModelFile): ModelFile {
  const told = Config.of(file);
  const type = told.text("model_type") ?? "";
  const both = `${type} ${String(told.list("architectures")?.[0])}`;
  const marked = told.flag("add_cluster_predictor") ? `${type} with add_cluster_predictor` : both;
  const family = [marked, both, type]
    .filter((name) => Object.hasOwn(families, name))
    .map((name) => families[name])[0];
  if (!family) {
    throw new SluiceError(
      "unsupported-model",
      `no mapping for the model_type ${JSON.stringify(type)} of ${file.name}`,
      {
        remedy: `Use a GGUF file of it, or a model of one of these types: ${Object.keys(families).join(", ")}.`,
        details: { modelType: type },
      },
    );
  }
  const {
    architecture,
    settings,
    expects = {},
    activations = ["silu", "swish"],
    keys,
    names = {},
    rename,
  } = family;
  const config = settings ? told.with(settings(told)) : told;
  if (activations !== "any") config.expect("hidden_act", activations);
  for (const [key, allowed] of Object.entries(expects)) config.expect(key, allowed);
  const all = { ...commonKeys(config, family.hasNtkRope), ...keys?.(config) };
  const metadata = Object.entries(all).map(([key, value]) => [`${architecture}.${key}`, value]);
  return {
    ...file,
    metadata: {
      "general.architecture": architecture,
      "general.name": file.name,
      ...Object.fromEntries(metadata),
    },
    tensors: ggufTensors(
      rename ? renamed(file, rename) : file,
      config,
      typeof names === "function" ? names(config) : names,
      {
        layers: config.required("num_hidden_layers"),
        dropsMore: family.hasGuesses ?? false,
        unused: family.unused,
      },
    ),
  };
}

function renamed(file: ModelFile, rename: (name: string) => string): ModelFile {
  return { ...file, tensors: file.tensors.map((tensor) => ({ ...tensor, name: rename(tensor.name) })) };
}
