import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { UsageError } from "../../demo/terminal/options.ts";
import { parseTokenizeOptions, TOKENIZE_USAGE } from "../../demo/terminal/tokenize_options.ts";
import { sendFile } from "../../scripts/serve_files.ts";
import { golden } from "./golden.ts";
import { tokenize } from "./terminal.ts";

const folder = mkdtempSync(join(tmpdir(), "sluice-tokenize-"));
afterAll(() => rmSync(folder, { recursive: true }));

const shared = resolve(import.meta.dirname, "../../../shared");
const vocabularies = resolve(shared, "golden/tokenizers");
const tinyModel = resolve(shared, "models/tiny-stories-moe");

/** What a run that goes well prints as JSON. */
async function json(...args: string[]): Promise<unknown> {
  const { stdout, stderr, exitCode } = await tokenize([...args, "--json"]);
  expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
  expect(stdout).toMatch(/^[^\n]+\n$/);
  return JSON.parse(stdout);
}

describe("parseTokenizeOptions", () => {
  test("one input, and switches", () => {
    const off = { model: undefined, special: false, raw: false, json: false };
    expect(parseTokenizeOptions(["--text="])).toEqual({ ...off, input: { kind: "text", text: "" } });
    expect(parseTokenizeOptions(["--decode", "1, 2"])).toEqual({
      ...off,
      input: { kind: "ids", ids: [1, 2] },
    });
    expect(parseTokenizeOptions("--model m --file f --special --raw --json".split(" "))).toEqual({
      model: "m",
      input: { kind: "file", path: "f" },
      special: true,
      raw: true,
      json: true,
    });
    expect(parseTokenizeOptions(["--help"])).toBeUndefined();
  });

  test.each([
    [""],
    ["--text a --file b"],
    ["--text a --decode 1"],
    ["--decode 1,x"],
    ["--decode="],
    ["--decode 1 --raw"],
    ["--file="],
    ["--model= --text a"],
    ["--texts a"],
    ["stray --text a"],
  ])("%j is wrong usage", (line) => {
    expect(() => parseTokenizeOptions(line.split(" ").filter(Boolean))).toThrow(UsageError);
  });
});

test("the embedded model's prompt, there and back", async () => {
  const ids = golden.promptTokens;
  const plain = await tokenize(["--text", golden.prompt]);
  expect(plain).toEqual({ stdout: `${ids.join(",")}\n`, stderr: "", exitCode: 0 });
  expect(await json("--decode", ids.join(","))).toEqual({ text: golden.prompt });
  writeFileSync(join(folder, "prompt.txt"), golden.prompt);
  expect(await json("--file", join(folder, "prompt.txt"))).toEqual({ ids });
});

test.runIf(existsSync(tinyModel))(
  "the tiny model by its file, folder, tokenizer.json and address",
  async () => {
    const ids = golden.promptTokens;
    mkdirSync(join(folder, "bare"));
    copyFileSync(join(tinyModel, "tokenizer.json"), join(folder, "bare/tokenizer.json"));
    const server = createServer((request, response) => {
      sendFile(request, response, join(tinyModel, "tiny-stories-moe-Q8_0.gguf"));
    });
    await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/model.gguf`;
    const paths = ["", "tiny-stories-moe-Q8_0.gguf", "tokenizer.json"].map((name) => join(tinyModel, name));
    for (const model of [...paths, join(folder, "bare"), url]) {
      expect(await json("--model", model, "--text", golden.prompt), model).toEqual({ ids });
    }
    server.close();
  },
);

describe.runIf(existsSync(vocabularies))("files with no more than a vocabulary", () => {
  const model = (name: string) => ["--model", join(vocabularies, `ggml-vocab-${name}.gguf`)];

  test("give llama.cpp's ids", async () => {
    const path = join(vocabularies, "ggml-vocab-phi-3.gguf");
    const texts = readFileSync(`${path}.inp`, "utf8").split("\n__ggml_vocab_test__\n");
    const lines = readFileSync(`${path}.out`, "utf8").split("\n");
    const at = texts.findIndex((text) => text.length > 100);
    const file = join(folder, "case.txt");
    writeFileSync(file, texts[at] as string);
    const ids = (lines[at] as string).trim().split(" ").map(Number);
    expect(await json("--model", path, "--file", file, "--raw")).toEqual({ ids });
    expect(await json("--model", path, "--decode", ids.join(","))).toEqual({ text: texts[at] });
  });

  test("put tokens around a text unless told not to", async () => {
    expect(await json(...model("llama-spm"), "--text", "a")).toEqual({ ids: [1, 263] });
    expect(await json(...model("llama-spm"), "--text", "a", "--raw")).toEqual({ ids: [263] });
  });

  test("name special tokens only where that is asked for", async () => {
    const named = await json(...model("llama-spm"), "--text", "</s>", "--raw", "--special");
    expect(named).toEqual({ ids: [2] });
    const { ids } = (await json(...model("llama-spm"), "--text", "</s>", "--raw")) as { ids: number[] };
    expect(ids.length).toBeGreaterThan(1);
    expect(ids).not.toContain(2);
    expect(await json(...model("llama-spm"), "--decode", "263,2")).toEqual({ text: "a" });
    expect(await json(...model("llama-spm"), "--decode", "263,2", "--special")).toEqual({ text: "a</s>" });
  });
});

describe("a failure", () => {
  test("says code, message and remedy, and exits with 1", async () => {
    const none = await tokenize(["--model", join(folder, "none.gguf"), "--text", "a"]);
    expect(none).toMatchObject({ exitCode: 1, stdout: "" });
    expect(none.stderr).toMatch(/^bad-request: no such file: .*none\.gguf\n\S.*\n$/);
    const unread = await tokenize(["--file", join(folder, "none.txt")]);
    expect(unread).toMatchObject({ exitCode: 1, stdout: "" });
    expect(unread.stderr).toMatch(/^bad-request: cannot read .*none\.txt\n\S.*\n$/);
  });

  test("of usage exits with 2 and explains", async () => {
    const run = await tokenize(["--text", "a", "--decode", "1"]);
    expect(run).toMatchObject({ exitCode: 2, stdout: "" });
    expect(run.stderr).toContain(TOKENIZE_USAGE);
    expect(await tokenize(["--help"])).toEqual({ exitCode: 0, stdout: TOKENIZE_USAGE, stderr: "" });
  });
});
