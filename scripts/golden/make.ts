/**
 * Makes or refreshes golden fixtures of model families with llama.cpp as the reference:
 * `LLAMA_CPP=<folder of libllama> node scripts/ts.mjs scripts/golden/make.ts <header.gguf or fixture.json> …`
 * `llama_cpp.py` says where to get the library. Of a GGUF file only the header counts, which becomes
 * `test/fixtures/families/<name>.json`; of a fixture `metadata`, `tensors`, `embedding` and `gain`, the rest is written.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { GGMLQuantizationType, GGUFValueType, gguf } from "@huggingface/gguf";
import { type FamilyFixture, fixtureGguf } from "../../test/support/family_fixture.ts";
import { nmse } from "../../test/support/golden.ts";
import { integer, seeded } from "../../test/support/random.ts";

type Header = Pick<FamilyFixture, "metadata" | "tensors" | "embedding" | "gain">;
type TypedValue = { readonly type: GGUFValueType; readonly value: unknown; readonly subType?: GGUFValueType };
/** `logits` of every position of the prompt; `margin` of the closest greedy choice. */
type Answer = Pick<FamilyFixture, "greedy"> & { readonly logits: readonly string[]; readonly margin: number };

const PROMPT_TOKENS = 48;
const GREEDY_TOKENS = 24;
const POSITION_STEP = 4;
const PROMPTS = 24;
const LEAST_MARGIN = 1e-3;
const LEAST_DISTINCT = 4;
/** Of one position's logits, if inputs of matrices are rounded to F16: more, and a router's choice hangs by a hair. */
const MOST_ROUNDING = 2e-5;

const families = fileURLToPath(new URL("../../test/fixtures/families/", import.meta.url));
const oracle = fileURLToPath(new URL("llama_cpp.py", import.meta.url));

for (const path of process.argv.slice(2)) {
  const name = basename(path).replace(/\.(gguf|json)$/, "");
  const place = path.endsWith(".json") ? path : join(families, `${name}.json`);
  // Already now, for the case that it needs another `gain` before it can be made.
  if (place !== path) writeFileSync(place, text(await read(path)));
  const { fixture, margin, rounding } = make(JSON.parse(readFileSync(place, "utf8")) as Header);
  writeFileSync(place, text(fixture));
  console.log(`${name}: margin ${margin.toPrecision(2)}, rounding ${rounding.toExponential(1)}`);
}

async function read(path: string): Promise<Header> {
  const { typedMetadata, tensorInfos } = await gguf(path, { typedMetadata: true, allowLocalFile: true });
  const architecture = String(typedMetadata["general.architecture"]?.value);
  const own = Object.entries<TypedValue>(typedMetadata).filter(([key]) => key.startsWith(`${architecture}.`));
  const metadata = own.map(([key, { type, value, subType }]) => {
    const of = GGUFValueType[subType ?? type].toLowerCase();
    return [key, subType === undefined ? of : `${of}[]`, of === "float32" ? short(value) : value] as const;
  });
  const tensors = tensorInfos.map(({ name, dtype, shape }) => {
    const type = dtype === GGMLQuantizationType.F32 ? "F32" : "F16";
    return [name, type, shape.map(Number).reverse()] as const;
  });
  const size = tensors.find(([name]) => name === "token_embd.weight")?.[2][0];
  const others = [
    ["general.architecture", "string", architecture],
    ["tokenizer.ggml.model", "string", "no_vocab"],
    [`${architecture}.vocab_size`, "uint32", size],
  ] as const;
  return { metadata: [...others, ...metadata.filter(([key]) => !key.endsWith(".vocab_size"))], tensors };
}

/** With no more digits than tell one float from another. */
function short(value: unknown): unknown {
  const digits = [6, 7, 8].map((count) => Number(Number(value).toPrecision(count)));
  return digits.find((number) => Math.fround(number) === value) ?? value;
}

/** Takes the first prompt that leaves no doubt, neither about the greedy tokens nor about the chosen experts. */
function make(header: Header) {
  const count = (end: string) => header.metadata.find(([key]) => key.endsWith(end))?.[2] as number;
  const prompts = Array.from({ length: PROMPTS }, (_, seed) => {
    const random = seeded(seed);
    return Array.from({ length: PROMPT_TOKENS }, () => integer(random, count(".vocab_size")));
  });
  const positions = [...Array(PROMPT_TOKENS).keys()].filter((i) => i % POSITION_STEP === 0);
  positions.push(PROMPT_TOKENS - 1);
  const files = { exact: fixtureGguf(header, "F32"), rounding: fixtureGguf(header) };
  for (const prompt of prompts) {
    const { greedy, margin, logits } = ask(files.exact, prompt, count(".context_length"));
    const rounded = ask(files.rounding, prompt, count(".context_length"));
    const roundings = logits.map((row, i) => nmse(floats(rounded.logits[i] as string), floats(row)));
    const rounding = Math.max(...roundings);
    if (!(margin > LEAST_MARGIN && rounding < MOST_ROUNDING)) continue;
    if (`${greedy}` !== `${rounded.greedy}` || new Set(greedy).size < LEAST_DISTINCT) continue;
    const kept = Buffer.concat(
      positions.map((position) => Buffer.from(logits[position] as string, "base64")),
    );
    const answers = { prompt, greedy, positions, logits: kept.toString("base64") };
    return { fixture: { ...header, ...answers }, margin, rounding };
  }
  throw new Error(`none of ${PROMPTS} prompts leaves no doubt; give the fixture another gain or embedding`);
}

function ask(file: Uint8Array, prompt: readonly number[], context: number): Answer {
  const folder = mkdtempSync(join(tmpdir(), "golden-"));
  const model = join(folder, "model.gguf");
  try {
    writeFileSync(model, file);
    const args = [oracle, process.env.LLAMA_CPP ?? ".", model, `${GREEDY_TOKENS}`, `${context}`];
    const options = { input: JSON.stringify(prompt), encoding: "utf8", maxBuffer: 2 ** 28 } as const;
    return JSON.parse(execFileSync("python3", args, options)) as Answer;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function floats(base64: string): Float32Array {
  return new Float32Array(Uint8Array.from(Buffer.from(base64, "base64")).buffer);
}

/** A line for every key and every tensor. */
function text({ metadata, tensors, ...others }: Header): string {
  const lines = (items: readonly unknown[]) => items.map((item) => JSON.stringify(item)).join(",\n");
  const rest = Object.entries(others).map(([key, value]) => `,\n"${key}": ${JSON.stringify(value)}`);
  return `{\n"metadata": [\n${lines(metadata)}\n],\n"tensors": [\n${lines(tensors)}\n]${rest.join("")}\n}\n`;
}
