/** `npm run -s tokenize -- [options]`: text to token ids and back, by a model's vocabulary. No browser, no GPU. */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import process from "node:process";
import { SluiceError } from "../src/errors.ts";
import { tokenizerFromFile } from "../src/text/from_file.ts";
import type { Tokenizer } from "../src/text/tokenizer.ts";
import { exit, explain } from "./terminal/exit.ts";
import { callerFolder } from "./terminal/model_place.ts";
import {
  parseTokenizeOptions,
  TOKENIZE_USAGE,
  type TokenizeInput,
  type TokenizeOptions,
} from "./terminal/tokenize_options.ts";
import { readVocabulary } from "./terminal/vocabulary.ts";

async function run({ model, input, special, raw, json }: TokenizeOptions): Promise<string> {
  if (input.kind === "ids") {
    const text = (await readTokenizer(model)).decode(input.ids, { keepSpecial: special });
    return json ? JSON.stringify({ text }) : text;
  }
  const text = textOf(input);
  const ids = (await readTokenizer(model)).encode(text, { addSpecial: !raw, parseSpecial: special });
  return json ? JSON.stringify({ ids }) : ids.join(",");
}

async function readTokenizer(model: string | undefined): Promise<Tokenizer> {
  const tokenizer = tokenizerFromFile(await readVocabulary(model));
  if (tokenizer !== undefined) return tokenizer;
  throw new SluiceError("unsupported-model", `${model ?? "the model"} has no vocabulary`, {
    remedy: "Give --model a file with a vocabulary, or the model's folder with its tokenizer.json.",
  });
}

function textOf(input: Exclude<TokenizeInput, { kind: "ids" }>): string {
  if (input.kind === "text") return input.text;
  const path = resolve(callerFolder, input.path);
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new SluiceError("bad-request", `cannot read ${path}`, {
      remedy: "Give --file a text file.",
      cause,
    });
  }
}

async function main(args: readonly string[]): Promise<number> {
  try {
    const options = parseTokenizeOptions(args);
    process.stdout.write(options === undefined ? TOKENIZE_USAGE : `${await run(options)}\n`);
    return 0;
  } catch (error) {
    return explain(error, TOKENIZE_USAGE);
  }
}

await exit(await main(process.argv.slice(2)));
