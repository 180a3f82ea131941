import { TokenType } from "./vocabulary.ts";

/**
 * Tokens that end a turn or a document in published vocabularies. Files name one end-of-sequence id but chat
 * models end their turns with others, so these are found by text, as llama.cpp does.
 */
const END_TEXTS: readonly string[] = [
  "<|eot_id|>",
  "<|eom_id|>",
  "<|im_end|>",
  "<|end|>",
  "<|return|>",
  "<|call|>",
  "<|calls|>",
  "<|flush|>",
  "<end_of_turn>",
  "<turn|>",
  "<|tool_response>",
  "<|endoftext|>",
  "<|end_of_text|>",
  "<｜end▁of▁sentence｜>",
  "<end_of_utterance>",
  "</s>",
  "<eos>",
  "<EOT>",
  "_<EOT>",
  "[EOT]",
  "[EOS]",
  "[e~[",
  "<|fim_pad|>",
  "<|repo_name|>",
  "<|file_sep|>",
];

/** In vocabularies with all of `with`, the token `text` separates parts of one reply and ends nothing. */
const EXCEPTIONS: readonly { readonly text: string; readonly with: readonly string[] }[] = [
  { text: "<|end|>", with: ["<|return|>", "<|call|>"] },
  { text: "<|end|>", with: ["<|flush|>", "<|calls|>"] },
  { text: "</s>", with: ["<|tool_response>"] },
];

/**
 * Ids that end a generation, ascending: the `named` ones (undefined entries are skipped) and the added tokens
 * known by their text. A plain token such as `</s>` in a vocabulary trained on markup does not count. Those
 * that `types` has as user-defined become control tokens: they would match in any text.
 */
export function markStopTokens(
  texts: readonly string[],
  types: Uint8Array,
  named: readonly (number | undefined)[],
): number[] {
  const known = new Set(END_TEXTS);
  const found = new Map<string, number>();
  for (let id = 0; id < texts.length; id++) {
    const type = types[id];
    if (type !== TokenType.CONTROL && type !== TokenType.USER_DEFINED) continue;
    const text = texts[id] as string;
    if (known.has(text)) found.set(text, id);
  }
  for (const exception of EXCEPTIONS) {
    if (exception.with.every((text) => found.has(text))) found.delete(exception.text);
  }
  const ids = new Set(found.values());
  for (const id of named) if (id !== undefined) ids.add(id);
  for (const id of ids) if (types[id] === TokenType.USER_DEFINED) types[id] = TokenType.CONTROL;
  return [...ids].sort((a, b) => a - b);
}
