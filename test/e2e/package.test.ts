import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, extname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { type Browser, chromium } from "playwright";
import { build, type Rolldown } from "vite";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import webpack from "webpack";
import { CHROMIUM_FLAGS, ensureBrowser } from "../../scripts/browser.mjs";
import { buildLibrary } from "../../scripts/build.ts";
import { mountedPath, sendFile } from "../../scripts/serve_files.ts";
import { type PartSize, sizeOfLoadModel } from "../../scripts/size.ts";
import { adamoeFolder, adamoeLogits } from "../support/adamoe_folder.ts";
import { nmse } from "../support/golden.ts";
import { routedModel } from "../support/routed_model.ts";
import { golden } from "./golden.ts";

/** The package, built, packed and installed as anyone would, in apps that know nothing of this repository. */

const LIMIT_BYTES = 120_000;
/** As the README states it. */
const POLICY = "default-src 'none'; script-src 'self'; worker-src blob:; connect-src 'self'";
const POLICY_WITHOUT_WORKERS = "default-src 'none'; script-src 'self'; connect-src 'self'";

const repository = fileURLToPath(new URL("../..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "sluice-package-"));
const app = join(folder, "app");
const installed = join(app, "node_modules/sluice");

let sizes: PartSize[];
let packed: { readonly path: string; readonly size: number }[];
let server: Server;
let browser: Browser;

beforeAll(async () => {
  sizes = await buildLibrary(join(folder, "package/dist"));
  for (const name of ["package.json", "README.md", "ARCHITECTURE.md", "LICENSE", "docs"]) {
    cpSync(join(repository, name), join(folder, "package", name), { recursive: true });
  }
  const [{ filename, files }] = JSON.parse(
    npm(join(folder, "package"), "pack", "--json", "--ignore-scripts", "--pack-destination", folder),
  );
  packed = files;
  write("package.json", JSON.stringify({ private: true, type: "module" }));
  npm(app, "install", "--offline", "--ignore-scripts", "--no-audit", "--no-fund", join(folder, filename));
  server = await serveApp();
  browser = await chromium.launch({ executablePath: ensureBrowser(), args: CHROMIUM_FLAGS });
});

afterAll(async () => {
  await browser?.close();
  server?.close();
  server?.closeAllConnections();
  rmSync(folder, { recursive: true, force: true });
});

function npm(cwd: string, ...args: string[]): string {
  return execFileSync("npm", args, { cwd, encoding: "utf8", shell: process.platform === "win32" });
}

function write(path: string, text: string): void {
  mkdirSync(dirname(join(app, path)), { recursive: true });
  writeFileSync(join(app, path), text);
}

const CONTENT_TYPES: Readonly<Record<string, string>> = { ".html": "text/html", ".js": "text/javascript" };

/** `/site/…` is the folder `site` of the app; `?blocked` asks for the policy that forbids the workers. */
async function serveApp(): Promise<Server> {
  const models = { "/models/": join(repository, "demo/public"), "/written/": join(folder, "written") };
  const listening = createServer((request, response) => {
    const url = request.url ?? "/";
    const model = mountedPath(models, url);
    if (model !== undefined) return sendFile(request, response, model);
    const path = mountedPath({ "/": app }, url) ?? "";
    try {
      const content = readFileSync(path);
      response.setHeader("Content-Type", CONTENT_TYPES[extname(path)] ?? "application/octet-stream");
      if (url.startsWith("/plain/")) {
        response.setHeader(
          "Content-Security-Policy",
          url.endsWith("?blocked") ? POLICY_WITHOUT_WORKERS : POLICY,
        );
      }
      response.end(content);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise<void>((resolve) => listening.listen(0, "127.0.0.1", resolve));
  return listening;
}

/** A program that answers one chat with one token, which takes the engine, the tokenizer and a chat template. */
function program(specifier: string): string {
  const request = {
    messages: [{ role: "user", content: golden.prompt }],
    chat_template: "{{ messages[-1].content }}",
    max_tokens: 1,
    temperature: 0,
  };
  return `import { loadModel, SluiceError } from ${JSON.stringify(specifier)};
    async function chat() {
      const model = await loadModel("/models/tiny-stories-moe-Q4_K_M.gguf", { store: "memory", contextTokens: 64 });
      const { choices, usage } = await model.chat.completions.create(${JSON.stringify(request)});
      return { text: choices[0].message.content, tokens: usage.total_tokens };
    }
    globalThis.outcome = chat().catch((error) => ({
      isSluiceError: error instanceof SluiceError, code: error.code, remedy: error.remedy, message: error.message,
    }));`;
}

const page = (script: string) =>
  `<!doctype html><html lang="en"><title>app</title><script type="module" src="${script}"></script></html>`;

const answered = { text: " girl", tokens: golden.promptTokens.length + 1 };

/** What the program of the page at `path` came to. @param lost a file that the page cannot fetch */
async function outcomeOf(path: string, lost?: RegExp): Promise<unknown> {
  const opened = await browser.newPage();
  if (lost !== undefined) await opened.route(lost, (route) => route.abort());
  const complaints: string[] = [];
  opened.on("console", (message) => complaints.push(message.text()));
  opened.on("pageerror", ({ message }) => complaints.push(message));
  try {
    await opened.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`);
    const isIsolated = await opened.evaluate(() => crossOriginIsolated);
    expect(isIsolated).toBe(false);
    const outcome = await opened.evaluate(() => (globalThis as unknown as { outcome: unknown }).outcome);
    return outcome ?? complaints;
  } finally {
    await opened.close();
  }
}

test("what a page fetches for loadModel, gzipped", () => {
  expect(sizes.map(({ fetched }) => fetched)).toEqual(
    expect.arrayContaining(["first", "loadModel", "on demand"]),
  );
  const size = sizeOfLoadModel(sizes);
  expect(size).toBeGreaterThan(50_000);
  expect(size).toBeLessThan(LIMIT_BYTES);
  const worker = sizes.find(({ fetched }) => fetched === "loadModel")?.file ?? "";
  expect(readFileSync(join(installed, "dist", worker), "utf8"), "comments of shaders").not.toMatch(/.\/\/ /);
});

test("the package holds the library, its types and its papers, and asks for no other", () => {
  const { dependencies, sideEffects } = JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));
  expect(dependencies).toBeUndefined();
  expect(sideEffects).toBe(false);
  expect(readdirSync(join(app, "node_modules")).filter((name) => !name.startsWith("."))).toEqual(["sluice"]);
  const rest = packed
    .map(({ path }) => path)
    .filter((path) => !/^(docs\/(guides\/)?[\w-]+\.md|dist\/.*\.(js|wasm|d\.ts))$/.test(path));
  expect(rest.sort()).toEqual(
    ["ARCHITECTURE.md", "LICENSE", "README.md", "dist/licenses.md", "package.json"].sort(),
  );
  const licenses = readFileSync(join(installed, "dist/licenses.md"), "utf8");
  for (const name of ["@huggingface/gguf", "@huggingface/jinja", "comlink", "idb"]) {
    expect(licenses).toContain(`\n## ${name} `);
  }
});

describe("an app of", () => {
  test("Vite", async () => {
    write("vite/index.html", page("./main.js"));
    write("vite/main.js", program("sluice"));
    const outDir = join(app, "vite-built");
    await build({
      root: join(app, "vite"),
      base: "./",
      configFile: false,
      logLevel: "error",
      build: { outDir },
    });
    expect(await outcomeOf("/vite-built/index.html")).toEqual(answered);
  });

  test("webpack", async () => {
    write("webpack/main.js", program("sluice"));
    write("webpack-built/index.html", page("./main.js"));
    const problems = await new Promise((resolve, reject) => {
      const output = { path: join(app, "webpack-built") };
      webpack({ mode: "production", context: app, entry: "./webpack/main.js", output }, (error, stats) => {
        if (error) reject(error);
        else resolve(stats?.toJson({ all: false, errors: true }).errors);
      });
    });
    expect(problems).toEqual([]);
    expect(await outcomeOf("/webpack-built/index.html")).toEqual(answered);
  });

  test("no bundler, under a strict Content-Security-Policy", async () => {
    expect(readFileSync(join(repository, "README.md"), "utf8")).toContain(POLICY);
    cpSync(join(installed, "dist"), join(app, "plain/sluice"), { recursive: true });
    write("plain/index.html", page("./main.js"));
    write("plain/main.js", program("./sluice/index.js"));
    expect(await outcomeOf("/plain/index.html")).toEqual(answered);
    expect(await outcomeOf("/plain/index.html?blocked")).toEqual({
      isSluiceError: true,
      code: "no-webgpu",
      message: expect.stringContaining("worker"),
      remedy: expect.stringContaining("`worker-src blob:`"),
    });
    expect(await outcomeOf("/plain/index.html", /sluice\.worker/)).toMatchObject({
      isSluiceError: true,
      code: "network",
    });
  });
});

describe("what the first script leaves out is fetched for a model that needs it", () => {
  const prompt = [5, 17, 80, 2];
  const routed = routedModel({ rule: { gate: "relu" } });

  beforeAll(async () => {
    mkdirSync(join(folder, "written"));
    for (const file of [routed, ...adamoeFolder()]) {
      writeFileSync(join(folder, "written", file.name), Buffer.from(await file.arrayBuffer()));
    }
    cpSync(join(installed, "dist"), join(app, "plain/sluice"), { recursive: true });
    write("plain/left_out.html", page("./left_out.js"));
    write(
      "plain/left_out.js",
      `import { loadModel } from "./sluice/index.js";
      globalThis.started = 0;
      globalThis.alive = 0;
      globalThis.Worker = class extends Worker {
        constructor(...args) { super(...args); started++; alive++; }
        terminate() { super.terminate(); alive--; }
      };
      globalThis.controller = new AbortController();
      globalThis.run = async (names) => {
        const fetched = names.map(async (name) => new File([await (await fetch("/written/" + name)).blob()], name));
        const source = names.length === 1 ? "/written/" + names[0] : await Promise.all(fetched);
        const phases = [];
        const onProgress = ({ phase }) => { if (phases.at(-1) !== phase) phases.push(phase); };
        try {
          const model = await loadModel(source, { onProgress, signal: controller.signal, contextTokens: 64 });
          const logits = Array.from(await model.logits(${JSON.stringify(prompt)}));
          const workers = [started, alive];
          await model.install();
          await model.dispose();
          const { held } = await navigator.locks.query();
          return { logits, phases, workers, alive, held: held.length };
        } catch ({ code }) {
          return { code, phases, started, alive };
        }
      };`,
    );
  });

  /** @param fetched what happens as the page asks for the script with all */
  async function load(names: readonly string[], fetched: "continue" | "abort signal" | "lost" = "continue") {
    const opened = await browser.newPage();
    await opened.route(/all\.worker/, async (route) => {
      if (fetched === "lost") return route.abort();
      if (fetched === "abort signal") await opened.evaluate("controller.abort()");
      return route.continue();
    });
    try {
      await opened.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/plain/left_out.html`);
      return await opened.evaluate(
        (files) => (globalThis as unknown as { run(files: readonly string[]): unknown }).run(files),
        names,
      );
    } finally {
      await opened.close();
    }
  }

  test("the files of a folder: they run, and the workers of the first attempt are gone", async () => {
    const { logits, ...rest } = (await load(adamoeFolder().map(({ name }) => name))) as { logits: number[] };
    expect(rest).toEqual({
      phases: expect.arrayContaining(["open", "load", "ready"]),
      ...{ workers: [4, 2], alive: 0, held: 0 },
    });
    expect(nmse(logits, adamoeLogits(prompt).logits)).toBeLessThan(1e-10);
  });

  test("a GGUF file, a script that cannot be fetched, and an abort on the way: nothing is left", async () => {
    const names = [routed.name];
    const left = { phases: ["open"], started: 2, alive: 0 };
    expect(await load(names, "lost")).toEqual({ code: "network", ...left });
    expect(await load(names, "abort signal")).toEqual({ code: "aborted", ...left });
  });
});

test("who imports only SluiceError gets nothing else", async () => {
  write(
    "errors/main.js",
    `import { SluiceError } from "sluice"; console.log(new SluiceError("aborted", "stopped", { remedy: "none" }).code);`,
  );
  const built = (await build({
    root: join(app, "errors"),
    configFile: false,
    logLevel: "error",
    build: { write: false, rolldownOptions: { input: join(app, "errors/main.js") } },
  })) as Rolldown.RolldownOutput;
  const chunks = built.output.filter((file) => file.type === "chunk");
  expect(chunks).toHaveLength(1);
  expect(chunks[0]?.code).not.toMatch(/Worker|import\(/);
  expect(chunks[0]?.code.length).toBeLessThan(2000);
});

test.each(["bundler", "nodenext"])("the types compile strictly, module resolution %s", (moduleResolution) => {
  write(
    "types/main.mts",
    `import { type ChatCompletionChunk, loadModel, type Model, type Progress, SluiceError } from "sluice";
    export async function chat(file: File, signal: AbortSignal): Promise<string> {
      const onProgress = ({ bytesDone, bytesTotal }: Progress): void => console.log(bytesDone / bytesTotal);
      const model: Model = await loadModel(file, { signal, onProgress, memory: { gpuExperts: "25%" } });
      const messages = [{ role: "user", content: "hello" }] as const;
      const chunks: AsyncIterable<ChatCompletionChunk> = await model.chat.completions.create({ messages, stream: true });
      let text = "";
      for await (const { choices } of chunks) text += choices[0]?.delta.content ?? "";
      for await (const piece of model.generate(text, { maxTokens: 1 })) text += piece;
      return text;
    }
    export const isOurs = (error: unknown): boolean => error instanceof SluiceError && error.code === "no-webgpu";
    // @ts-expect-error: no such option
    void loadModel("model.gguf", { gpu: 1 });`,
  );
  const compilerOptions = {
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    skipLibCheck: false,
    noEmit: true,
    target: "es2022",
    lib: ["es2022", "dom", "dom.iterable", "dom.asynciterable"],
    types: [],
    module: moduleResolution === "bundler" ? "esnext" : "nodenext",
    moduleResolution,
  };
  write("types/tsconfig.json", JSON.stringify({ compilerOptions, files: ["main.mts"] }));
  const tsc = join(repository, "node_modules/typescript/bin/tsc");
  const run = () => execFileSync(process.execPath, [tsc, "-p", join(app, "types")], { encoding: "utf8" });
  expect(outputOf(run)).toBe("");
});

/** What a program that ends with a failure has printed is what it has to say. */
function outputOf(run: () => string): string {
  try {
    return run();
  } catch (error) {
    return String((error as { stdout?: string }).stdout ?? error);
  }
}
