import type { Metadata } from "../source/model_file.ts";
import { tokenizerFromGguf } from "./from_gguf.ts";
import { tokenizerFromJson } from "./from_json.ts";
import { parseJsonText } from "./json_parts.ts";
import type { Tokenizer } from "./tokenizer.ts";

/**
 * The tokenizer of a model file: described by GGUF metadata, or by the texts of `tokenizer.json` and the files beside
 * it.
 * @returns `undefined` for files without a vocabulary.
 * @throws `unsupported-model` for a kind that is not known, `bad-model-file` for a damaged one.
 */
export function tokenizerFromFile(metadata: Metadata): Tokenizer | undefined {
  const tokenizer = parseJsonText(metadata, "tokenizer.json");
  if (tokenizer === undefined) return tokenizerFromGguf(metadata);
  return tokenizerFromJson(
    tokenizer,
    parseJsonText(metadata, "tokenizer_config.json"),
    parseJsonText(metadata, "generation_config.json"),
  );
}
