import { SluiceError } from "../errors.ts";
import type { Metadata } from "../source/model_file.ts";
import { tokenizerFromGguf } from "./from_gguf.ts";
import { tokenizerFromJson } from "./from_json.ts";
import type { Tokenizer } from "./tokenizer.ts";

/**
 * The tokenizer of a model file: described by GGUF metadata, or by the texts of `tokenizer.json` and the files beside
 * it.
 * @returns `undefined` for files without a vocabulary.
 * @throws `unsupported-model` for a kind that is not known, `bad-model-file` for a damaged one.
 */
export function tokenizerFromFile(metadata: Metadata): Tokenizer | undefined {
  const tokenizer = parse(metadata, "tokenizer.json");
  if (tokenizer === undefined) return tokenizerFromGguf(metadata);
  return tokenizerFromJson(
    tokenizer,
    parse(metadata, "tokenizer_config.json"),
    parse(metadata, "generation_config.json"),
  );
}

function parse(metadata: Metadata, name: string): unknown {
  const text = metadata[name];
  if (text === undefined) return undefined;
  try {
    return JSON.parse(String(text));
  } catch (cause) {
    throw new SluiceError("bad-model-file", `${name} is not JSON`, {
      remedy: "Download the model's files again.",
      details: { name },
      cause,
    });
  }
}
