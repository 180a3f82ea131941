import { parseArgs } from "node:util";
import { nonEmpty, tokenIds, UsageError } from "./options.ts";

export interface TokenizeOptions {
  readonly model: string | undefined;
  readonly input: TokenizeInput;
  /** Special tokens may be named by the text, or are spelled out in it. */
  readonly special: boolean;
  /** Without the tokens that the vocabulary puts around a text. */
  readonly raw: boolean;
  readonly json: boolean;
}

export type TokenizeInput =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "ids"; readonly ids: readonly number[] };

export const TOKENIZE_USAGE = `usage: npm run -s tokenize -- [options]

  --model PATH|URL      what generate takes; also a GGUF file with no more than a vocabulary, a tokenizer.json or its folder
                        (default: the embedded story model). Only the header, or the tokenizer's files, are read
  --text TEXT           print the ids of this text
  --file FILE           print the ids of a UTF-8 file
  --decode 1,2,3        print the text of these ids
  --special             let the text name special tokens such as <|im_end|>, or with --decode spell them out
                        (default: text stays text, and special tokens have none, as for the prompt of generate)
  --raw                 leave out the begin and end tokens that the vocabulary puts around a text
                        (default: they are added, as for the prompt of generate)
  --json                print {"ids": [...]} or {"text": "..."}, on one line
  --help                this text

One of --text, --file and --decode must be given.
`;

const OPTIONS = {
  model: { type: "string" },
  text: { type: "string" },
  file: { type: "string" },
  decode: { type: "string" },
  special: { type: "boolean" },
  raw: { type: "boolean" },
  json: { type: "boolean" },
  help: { type: "boolean" },
} as const;

/**
 * @returns `undefined` where help is asked for
 * @throws UsageError naming the option and what it takes
 */
export function parseTokenizeOptions(args: readonly string[]): TokenizeOptions | undefined {
  const values = parsed(args);
  if (values.help) return undefined;
  const { special = false, raw = false, json = false } = values;
  const input = inputOf(values);
  if (raw && input.kind === "ids") throw new UsageError("--raw does nothing with --decode");
  return { model: nonEmpty("--model", values.model), input, special, raw, json };
}

function inputOf({ text, file, decode }: ReturnType<typeof parsed>): TokenizeInput {
  if ([text, file, decode].filter((value) => value !== undefined).length !== 1) {
    throw new UsageError("give one of --text, --file and --decode");
  }
  if (text !== undefined) return { kind: "text", text };
  if (decode !== undefined) return { kind: "ids", ids: tokenIds("--decode", decode) };
  return { kind: "file", path: nonEmpty("--file", file) as string };
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, strict: true }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}
