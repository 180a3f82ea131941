import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { sendFile } from "../../scripts/serve_files.ts";
import { decodeTrace } from "../../src/experts/trace.ts";
import { fixture, type GoldenCase, goldenCase, nmse } from "../support/golden.ts";
import { startHub } from "../support/hub_server.ts";
import { folderOf, withoutScales } from "../support/hugging_face.ts";
import { qwen3moeFolder } from "../support/hugging_face_families.ts";
import { splitGguf } from "../support/split_gguf.ts";
import { golden } from "./golden.ts";
import { generate } from "./terminal.ts";

const folder = mkdtempSync(join(tmpdir(), "sluice-cli-"));
afterAll(() => rmSync(folder, { recursive: true }));

const story = fileURLToPath(new URL("../../demo/public/tiny-stories-moe-Q4_K_M.gguf", import.meta.url));
const count = String(golden.tokens.length);
const ids = golden.promptTokens.join(",");

/** A model that compiles in a third of the time, and what llama.cpp says of it. */
const small = fileURLToPath(fixture("qwen3moe-moe.gguf"));
const smallGolden: GoldenCase = await goldenCase(fixture("qwen3moe-moe"));
const ofSmall = ["--tokens", smallGolden.tokens.join(","), "--json"];

interface JsonLine {
  readonly tokens: number[];
  readonly text: string;
  readonly stats: Record<string, number>;
}

function jsonLine(stdout: string): JsonLine {
  expect(stdout.endsWith("\n")).toBe(true);
  expect(stdout.trimEnd()).not.toContain("\n");
  return JSON.parse(stdout) as JsonLine;
}

describe("a run", () => {
  test("prints the text, and only the text", async () => {
    const { stdout, stderr, exitCode } = await generate(["--prompt", golden.prompt, "--max-tokens", count]);
    expect({ stdout, stderr, exitCode }).toEqual({ stdout: `${golden.text}\n`, stderr: "", exitCode: 0 });
  });

  test("writes the logits of every prompt position, with no token generated", async () => {
    const file = join(folder, "prompt.logits.f32");
    const run = await generate(["--model", small, ...ofSmall, "--max-tokens", "0", "--logits", file]);
    expect(run.exitCode).toBe(0);
    expect(jsonLine(run.stdout)).toMatchObject({ tokens: [] });
    const logits = new Float32Array(new Uint8Array(readFileSync(file)).buffer);
    expect(nmse(logits, smallGolden.logits ?? [])).toBeLessThan(1e-6);
  });

  test("samples as it is told to", async () => {
    const sampling = ["--temperature", "1", "--top-k", "50", "--top-p", "0.9", "--seed", "7"];
    const run = await generate(["--model", small, ...ofSmall, "--max-tokens", "12", ...sampling]);
    const { tokens } = jsonLine(run.stdout);
    expect(tokens).toHaveLength(12);
    expect(tokens).not.toEqual(smallGolden.greedy.slice(0, 12));
  });

  test("runs a model of a hub, which the page asks itself", async () => {
    const commit = "a".repeat(40);
    const files = { "imatrix.gguf": new Uint8Array(4), "small-F16.gguf": readFileSync(small) };
    const repo = { branches: { main: commit }, commits: { [commit]: files } };
    await using hub = await startHub({ "owner/small": repo });
    const args = ["--model", "hf:owner/small", "--hub-endpoint", hub.url, ...ofSmall];
    const { stdout, stderr, exitCode } = await generate([...args, "--max-tokens", "4"]);
    expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
    expect(jsonLine(stdout).tokens).toEqual(smallGolden.greedy.slice(0, 4));
    expect(hub.asked.some(({ at, url }) => at === "files" && url.includes(commit))).toBe(true);
  });

  test("prints one line of JSON, for a model from a server that sends no CORS headers", async () => {
    const ranges: (string | undefined)[] = [];
    const server = createServer((request, response) => {
      ranges.push(request.headers.range);
      sendFile(request, response, story);
    });
    await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/story.gguf?token=1`;
    const run = await generate(["--model", url, "--tokens", ids, "--max-tokens", count, "--json"]);
    server.close();
    expect(run.stderr).toBe("");
    const line = jsonLine(run.stdout);
    expect(Object.keys(line)).toEqual(["tokens", "text", "stats"]);
    expect(line.tokens).toEqual(golden.tokens);
    expect(line.text).toBe(golden.text);
    expect(line.stats.decodeTokensPerSecond).toBeGreaterThan(0);
    expect(line.stats.bytesFetched).toBeGreaterThan(0);
    expect(ranges.some((range) => range?.startsWith("bytes="))).toBe(true);
  });

  test("draws the same tokens with a quarter of the experts in GPU memory, and traces their routes", async () => {
    const file = join(folder, "small.trace");
    const args = ["--model", small, ...ofSmall, "--max-tokens", "8"];
    const paged = await generate([...args, "--gpu-experts", "25%", "--trace", file]);
    expect(paged.stderr).toBe("");
    const { tokens, stats } = jsonLine(paged.stdout);
    expect(tokens).toEqual(smallGolden.greedy.slice(0, 8));
    expect(stats.faultsPerToken).toBeGreaterThan(0);
    expect(stats.expertHitRate).toBeLessThan(1);
    expect(stats.bytesStalledPerToken).toBeGreaterThan(0);
    const trace = decodeTrace(readFileSync(file, "utf8"));
    // The last token drawn is not fed.
    expect(trace.tokens.length).toBe(smallGolden.tokens.length + tokens.length - 1);
    const counts = trace.tokens.flatMap(({ routes }) => routes.map((route) => route.length));
    expect(new Set(counts)).toEqual(new Set([2]));
  });

  test("ends on Ctrl-C with the shell's exit code", async () => {
    let isSent = false;
    const run = await generate(["--max-tokens", "400"], {
      onOutput: (_, kill) => {
        if (!isSent) kill("SIGINT");
        isSent = true;
      },
    });
    expect(run.stderr).toBe("");
    expect(run.exitCode).toBe(130);
  });
});

describe("a model of several files", () => {
  const bytes = new Uint8Array(readFileSync(small));
  const place = (...path: string[]) => join(folder, ...path);
  const write = async (at: string, files: readonly File[]) => {
    mkdirSync(at, { recursive: true });
    for (const file of files) writeFileSync(join(at, file.name), new Uint8Array(await file.arrayBuffer()));
  };
  const tokensOf = async (model: string, ...more: string[]) => {
    const run = await generate(["--model", model, ...ofSmall, "--max-tokens", "8", ...more]);
    expect(run.stderr).toBe("");
    return jsonLine(run.stdout).tokens;
  };

  test("a folder with safetensors, by a file of it, quantised, is the model its GGUF file is", async () => {
    const gguf = await withoutScales(bytes);
    writeFileSync(place("plain.gguf"), gguf);
    await write(place("hf"), await folderOf(gguf, qwen3moeFolder, { shards: 2, experts: "fused" }));
    const forms = ["plain.gguf", "hf/config.json"].map((path) => tokensOf(place(path), "--install", "q4_0"));
    const [expected, byFile] = await Promise.all(forms);
    expect(byFile).toHaveLength(8);
    expect(byFile).toEqual(expected);
  });

  test("a GGUF file in two parts, by their folder", async () => {
    await write(place("split"), await splitGguf(bytes, "m"));
    expect(await tokensOf(place("split"))).toEqual(smallGolden.greedy.slice(0, 8));
  });

  test("a folder without a model", async () => {
    mkdirSync(place("empty"));
    const empty = await generate(["--model", place("empty"), "--max-tokens", "0"]);
    expect(empty).toMatchObject({ exitCode: 1, stdout: "" });
    expect(empty.stderr).toMatch(/^bad-request: .*empty has no config.json, and 0 GGUF models\n\S.*\n$/);
  });
});

describe("Dawn for Node", () => {
  // Loading is what differs here. The first dispatch would wait minutes for llvmpipe to compile what the golden
  // tests on Dawn compile anyway.
  test("loads the model", async ({ skip }) => {
    const run = await generate(["--backend", "node", "--tokens", ids, "--max-tokens", "0", "--json"]);
    if (run.stderr.includes("no-webgpu: ")) skip("no adapter on this machine");
    expect(run.exitCode, run.stderr).toBe(0);
    expect(jsonLine(run.stdout)).toMatchObject({ tokens: [], text: "" });
    expect(jsonLine(run.stdout).stats.gpuBytes).toBeGreaterThan(0);
  });
});

describe("a failure says code, message and remedy, and exits with 1", () => {
  test("no such file", async () => {
    const run = await generate(["--model", join(folder, "none.gguf")]);
    expect(run).toMatchObject({ exitCode: 1, stdout: "" });
    expect(run.stderr).toMatch(/^bad-request: no such file: .*none\.gguf\n\S.*\n$/);
  });

  test("a trace that cannot be written, before anything runs", async () => {
    const run = await generate(["--trace", join(folder, "none", "story.trace")]);
    expect(run).toMatchObject({ exitCode: 1, stdout: "" });
    expect(run.stderr).toMatch(/^bad-request: cannot write .*story\.trace\n.*--trace.*\n$/);
  });

  test("not a model", async () => {
    const file = join(folder, "text.gguf");
    writeFileSync(file, "once upon a time ".repeat(100));
    const run = await generate(["--model", file]);
    expect(run).toMatchObject({ exitCode: 1, stdout: "" });
    expect(run.stderr).toMatch(/^bad-model-file: .*\n\S.*\n$/);
  });
});

test("wrong usage exits with 2 and explains", async () => {
  const run = await generate(["--temprature", "1"]);
  expect(run).toMatchObject({ exitCode: 2, stdout: "" });
  expect(run.stderr).toContain("--temprature");
  expect(run.stderr).toContain("usage: npm run -s generate");
});
