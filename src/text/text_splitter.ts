import { SequenceNormalizer, SequencePostProcessor, SequencePreTokenizer } from "@huggingface/tokenizers";
import { SluiceError } from "../errors.ts";

type Configs = readonly unknown[];

/** Builds the normaliser that `tokenizer.json` describes by `configs`, applied in order. */
export function buildNormalizer(configs: Configs): (text: string) => string {
  type Config = ConstructorParameters<typeof SequenceNormalizer>[0];
  const config = { type: "Sequence", normalizers: configs } as Config;
  const normalizer = supported(() => new SequenceNormalizer(config));
  return (text) => normalizer.normalize(text);
}

/** Builds the pre-tokenizer that `tokenizer.json` describes by `configs`: text to pieces, in order. */
export function buildPreTokenizer(configs: Configs): (text: string, section: number) => string[] {
  type Config = ConstructorParameters<typeof SequencePreTokenizer>[0];
  const config = { type: "Sequence", pretokenizers: configs } as Config;
  const splitter = supported(() => new SequencePreTokenizer(config));
  return (text, section) => splitter.pre_tokenize(text, { section_index: section });
}

/** The texts of the special tokens that the post-processors in `configs` put around a text. */
export function surroundingTokens(configs: Configs): { before: string[]; after: string[] } {
  type Config = ConstructorParameters<typeof SequencePostProcessor>[0];
  const config = { type: "Sequence", processors: configs } as Config;
  const processor = supported(() => new SequencePostProcessor(config));
  const text = "\u0000";
  const { tokens } = processor.post_process([text]);
  const at = tokens.indexOf(text);
  return { before: tokens.slice(0, at), after: tokens.slice(at + 1) };
}

/** The library throws plain errors for kinds it does not know and for patterns it cannot translate. */
function supported<T>(build: () => T): T {
  try {
    return build();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new SluiceError("unsupported-model", `the tokenizer has a part that is not supported: ${reason}`, {
      remedy: "Use a GGUF file of the model, which names its splitting rule, or pass token ids.",
      cause,
    });
  }
}
