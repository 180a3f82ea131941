import { gguf } from "@huggingface/gguf";
import type { Metadata } from "../../src/source/model_file.ts";
import { tokenizerFromGguf } from "../../src/text/from_gguf.ts";
import type { Tokenizer } from "../../src/text/tokenizer.ts";

/** The header of a GGUF file on this disk. */
export async function readMetadata(path: string): Promise<Metadata> {
  const { metadata } = await gguf(path, { allowLocalFile: true });
  return metadata as unknown as Metadata;
}

/** The tokenizer of a GGUF file that has one. */
export async function readTokenizer(path: string): Promise<Tokenizer> {
  return existing(tokenizerFromGguf(await readMetadata(path)));
}

export function existing(tokenizer: Tokenizer | undefined): Tokenizer {
  if (!tokenizer) throw new Error("there is no tokenizer");
  return tokenizer;
}

/** What a stream gives for ids pushed one by one: every piece, and the flushed rest last. */
export function streamed(tokenizer: Tokenizer, ids: readonly number[]): string[] {
  const stream = tokenizer.stream();
  const pieces = ids.map((id) => stream.push(id));
  return [...pieces, stream.flush()];
}

/** A SentencePiece vocabulary: `<unk>`, `<s>`, `</s>`, 256 byte tokens, then `pieces`, best score first. */
export function sentencePieceMetadata(pieces: readonly string[], more: Metadata = {}): Metadata {
  const bytes = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`);
  return {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", ...bytes, ...pieces],
    "tokenizer.ggml.scores": [0, 0, 0, ...bytes.map(() => 0), ...pieces.map((_, index) => -index)],
    "tokenizer.ggml.token_type": [2, 3, 3, ...bytes.map(() => 6), ...pieces.map(() => 1)],
    ...more,
  };
}
