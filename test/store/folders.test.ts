import { afterEach, beforeEach, expect, test } from "vitest";
import type { SluiceError } from "../../src/errors.ts";
import { planModel } from "../../src/model/archs/index.ts";
import { chooseForm } from "../../src/model/form.ts";
import { type ModelPages, planPages } from "../../src/model/pages.ts";
import type { InstallForm } from "../../src/quant/install.ts";
import type { TensorInfo } from "../../src/source/model_file.ts";
import { openSource } from "../../src/source/open.ts";
import { readModel } from "../../src/source/read_model.ts";
import { MemoryBackend } from "../../src/store/memory.ts";
import { ModelStore } from "../../src/store/model_store.ts";
import { ranges, startServer, type TestServer } from "../source/server.ts";
import { smallModel } from "../support/engine.ts";
import { readBytes } from "../support/golden.ts";
import { folderOf, textFiles, withoutScales } from "../support/hugging_face.ts";
import { qwen3moeFolder } from "../support/hugging_face_families.ts";

const gguf = await withoutScales(await readBytes(smallModel()));
const tokenizer = { "tokenizer.json": "{}" };

let files: Map<string, Uint8Array>;
let server: TestServer;

async function serve(list: readonly File[]): Promise<void> {
  for (const file of list) files.set(`/model/${file.name}`, new Uint8Array(await file.arrayBuffer()));
}

beforeEach(async () => {
  files = new Map();
  await serve(await folderOf(gguf, qwen3moeFolder, { shards: 3, texts: tokenizer }));
  server = await startServer((asked, response) => {
    const file = files.get(new URL(asked.url, "http://x").pathname);
    if (file) ranges(file)(asked, response);
    else response.writeHead(404).end();
  }, "/model/");
});
afterEach(() => server[Symbol.asyncDispose]());

/** A new visit to a disk, as an engine makes it: the model open and planned in a form, and all its pages. */
async function visit(backend: MemoryBackend, form: InstallForm = "as-is") {
  const store = new ModelStore(backend);
  const spec = { kind: "url", url: server.url } as const;
  const first = await store.open(spec);
  const { id, file } = form === "as-is" ? first : await store.open(spec, form);
  if (id !== first.id) await store.close(first.id);
  const { pages } = planPages(planModel(file, form));
  await store.plan(id, pages);
  const readAll = () =>
    store.read(
      id,
      pages.map(({ index }) => index),
    );
  return { store, id, file, readAll };
}

test("a second visit asks the network for nothing, neither files nor texts", async () => {
  const disk = new MemoryBackend(2 ** 26);
  const first = await visit(disk);
  const bytes = await first.readAll();
  expect(first.file).toMatchObject({ format: "safetensors", metadata: tokenizer });
  expect(first.file.files).toHaveLength(3);
  const size = [...files.values()].reduce((sum, file) => sum + file.length, 0);
  const { bytesFetched } = await first.store.stats();
  expect(bytesFetched).toBeGreaterThan(0.9 * size);
  await first.store.close(first.id);
  const before = server.asked.length;
  const second = await visit(disk);
  expect(await second.readAll()).toEqual(bytes);
  expect(second.file).toEqual(first.file);
  expect(server.asked.length).toBe(before);
  expect((await second.store.stats()).bytesFetched).toBe(0);
});

test("where pages are gone only the files they are in are opened again, and no header is read", async () => {
  const disk = new MemoryBackend(0);
  const first = await visit(disk);
  await first.store.close(first.id);
  const before = server.asked.length;
  const { store, id } = await visit(disk);
  await store.read(id, [0]);
  const asked = server.asked.slice(before).map(({ url }) => url);
  expect(new Set(asked).size).toBe(1);
  // One for its size, one for the page.
  expect(asked).toHaveLength(2);
});

test("forms of a model are models of their own, side by side on one disk", async () => {
  const disk = new MemoryBackend(2 ** 26);
  const forms = ["as-is", "q8_0", "q4_0"] as const;
  const visits = [];
  for (const form of forms) visits.push(await visit(disk, form));
  expect(new Set(visits.map(({ id }) => id)).size).toBe(3);
  const sizes: number[] = [];
  for (const { store, id, readAll } of visits) {
    sizes.push((await readAll()).reduce((sum, { byteLength }) => sum + byteLength, 0));
    await store.close(id);
  }
  const [asStored, q8, q4] = sizes as [number, number, number];
  expect(q8).toBeLessThan(0.65 * asStored);
  expect(q4).toBeLessThan(0.7 * q8);
  const before = server.asked.length;
  for (const form of forms) await (await visit(disk, form)).readAll();
  expect(server.asked.length).toBe(before);
});

test.each(["as-is", "q8_0"] as const)("a file that was replaced by one of another size, %s", async (form) => {
  const disk = new MemoryBackend(0);
  const first = await visit(disk);
  await first.store.close(first.id);
  const [, , shard] = [...files.keys()].sort();
  const old = files.get(shard as string)?.length ?? 0;
  files.set(shard as string, new Uint8Array(old + 64));
  const second = await visit(disk, form);
  const error = (await second.readAll().catch((reason: unknown) => reason)) as SluiceError;
  expect(error).toMatchObject({ code: "bad-model-file", details: { size: old + 64, expected: old } });
  await second.store.close(second.id);
  await serve(await folderOf(gguf, qwen3moeFolder, { shards: 3, texts: { "tokenizer.json": "{ }" } }));
  const third = await visit(disk);
  expect(third.file.metadata["tokenizer.json"]).toBe("{ }");
  await third.readAll();
});

test("a server that answers every path with its page has no index and no tokenizer", async () => {
  files.clear();
  await serve(await folderOf(gguf, qwen3moeFolder));
  const page = new TextEncoder().encode("<!doctype html><title>404</title>");
  for (const name of ["model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json"]) {
    files.set(`/model/${name}`, page);
  }
  const { file, readAll } = await visit(new MemoryBackend(0));
  expect(Object.keys(file.metadata)).toEqual(["config.json"]);
  await readAll();
});

test("an address without an ending is a folder where there is a configuration, else a file", async () => {
  const store = new ModelStore(new MemoryBackend(0));
  const folder = await store.open({ kind: "url", url: server.url.slice(0, -1) });
  expect(folder.file.format).toBe("safetensors");
  files.set("/model/blob", gguf);
  const blob = await store.open({ kind: "url", url: `${server.url}blob` });
  expect(blob.file.format).toBe("gguf");
});

test.each(["config.json", "model.safetensors.index.json", "model-00002-of-00003.safetensors"])(
  "the address of %s is that of its folder",
  async (name) => {
    const store = new ModelStore(new MemoryBackend(0));
    const whole = await store.open({ kind: "url", url: `${server.url}?key=1` });
    const part = await store.open({ kind: "url", url: `${server.url}${name}?key=1` });
    expect(part).toEqual(whole);
  },
);

test("a directory handle", async () => {
  const list = [
    ...(await folderOf(gguf, qwen3moeFolder, { shards: 2 })),
    ...textFiles({ "readme.txt": "no" }),
  ];
  const entries = list.map((file) => ({ kind: "file" as const, name: file.name, getFile: async () => file }));
  const handle = { kind: "directory", name: "picked", values: () => entries.values() };
  const store = new ModelStore(new MemoryBackend(0));
  const { file } = await store.open({
    kind: "folder",
    handle: handle as unknown as FileSystemDirectoryHandle,
  });
  expect(file).toMatchObject({ format: "safetensors", name: "picked" });
  expect(file.files).toHaveLength(2);
});

const sizeOf = ({ pages }: ModelPages) => pages.reduce((sum, { bytes }) => sum + bytes, 0);

test("the form where none is asked for: as little is quantised as makes it fit", async () => {
  const { file } = await visit(new MemoryBackend(0));
  const sizes = (["as-is", "q8_0", "q4_0"] as const).map((form) => sizeOf(planPages(planModel(file, form))));
  const [asStored, q8, q4] = sizes as [number, number, number];
  expect(chooseForm(file, undefined).form).toBe("as-is");
  expect(chooseForm(file, undefined, asStored).form).toBe("as-is");
  expect(chooseForm(file, undefined, asStored - 1).form).toBe("q8_0");
  expect(chooseForm(file, undefined, q8).form).toBe("q8_0");
  expect(chooseForm(file, undefined, q8 + 99, 100).form).toBe("q4_0");
  expect(chooseForm(file, undefined, q4 - 1).form).toBe("q4_0");
  expect(chooseForm(file, "as-is", 1).form).toBe("as-is");
  expect(chooseForm(file, "q4_0").form).toBe("q4_0");
  const header = await readModel(await openSource({ kind: "blob", blob: new Blob([gguf]), name: "x.gguf" }));
  expect(chooseForm(header, undefined, 1).form).toBe("as-is");
  expect(sizeOf(chooseForm(header, "q8_0").pages)).toBe(q8);
});

test("what is quantised: large matrices, not routers, norms and biases", async () => {
  const { file } = await visit(new MemoryBackend(0));
  const { pages } = chooseForm(file, "q8_0").pages;
  const stored = new Map(
    pages.flatMap(({ parts }) => parts.map((part) => [part.tensor.replace(/^blk\.\d+\./, ""), part.stored])),
  );
  const of = (type: TensorInfo["type"]) => [...stored].filter(([, is]) => is === type).map(([name]) => name);
  const names = [
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_output",
    "ffn_gate_exps",
    "ffn_up_exps",
    "ffn_down_exps",
  ];
  expect(of("Q8_0").sort()).toEqual(
    [...names, "token_embd", "output"].map((name) => `${name}.weight`).sort(),
  );
  expect(of("F32")).toContain("ffn_gate_inp.weight");
});
