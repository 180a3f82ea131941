import { describe, expect, test } from "vitest";
import type { SluiceError } from "../../src/errors.ts";
import type { ModelFile } from "../../src/source/model_file.ts";
import { openSource } from "../../src/source/open.ts";
import { readModel } from "../../src/source/read_model.ts";
import { specOf } from "../../src/source/spec.ts";
import { f32Tensor, type MetadataEntry, writeGguf } from "../support/gguf_writer.ts";
import { ranges, startServer } from "./server.ts";

interface PartLies {
  readonly no?: number;
  readonly count?: number;
  readonly tensors?: number;
  readonly prefix?: string;
}

/** Part `i` of `count`, with two tensors of its own, every weight of which is the part's number. */
function part(i: number, count: number, lies: PartLies = {}): Uint8Array<ArrayBuffer> {
  const number = (key: string, value: number, type: MetadataEntry["type"] = "uint16") => ({
    key,
    type,
    value,
  });
  const names = ["a", "b"].map((name) => `${lies.prefix ?? i}.${name}`);
  return writeGguf({
    metadata: [
      number("split.no", lies.no ?? i),
      number("split.count", lies.count ?? count),
      number("split.tensors.count", lies.tensors ?? 2 * count, "int32"),
      ...(i === 0 ? [{ key: "general.name", type: "string", value: "whole" } as const] : []),
    ],
    tensors: names.map((name, t) => f32Tensor(name, [4, 3 + i + t], () => i + 1)),
  });
}

const nameOf = (i: number, count: number, stem = "m") =>
  `${stem}-${String(i + 1).padStart(5, "0")}-of-${String(count).padStart(5, "0")}.gguf`;

/** All parts, those of `lies` with lies. */
function parts(count: number, lies: Readonly<Record<number, PartLies>> = {}): File[] {
  return Array.from({ length: count }, (_, i) => new File([part(i, count, lies[i])], nameOf(i, count)));
}

const read = async (source: Parameters<typeof specOf>[0]): Promise<ModelFile> =>
  readModel(await openSource(specOf(source)));
const failing = async (files: readonly File[]) =>
  (await read(files).catch((error: unknown) => error)) as SluiceError;

async function expectWhole(source: Parameters<typeof specOf>[0], count: number): Promise<void> {
  const open = await openSource(specOf(source));
  const file = await readModel(open);
  expect(file.metadata["general.name"]).toBe("whole");
  expect(file.tensors.map(({ name }) => name)).toEqual(
    Array.from({ length: count }, (_, i) => [`${i}.a`, `${i}.b`]).flat(),
  );
  for (const { name, offset, bytes } of file.tensors) {
    const values = new Float32Array((await open.read(offset, bytes)).buffer);
    expect(new Set(values), name).toEqual(new Set([Number.parseInt(name, 10) + 1]));
  }
  open.close();
}

describe("a model in three files", () => {
  test("given as files, in any order", () => expectWhole(parts(3).reverse(), 3));

  test("given by the address of the first", async () => {
    const files = new Map(parts(3).map((file) => [`/models/${file.name}`, file]));
    const contents = new Map<string, Uint8Array>();
    for (const [path, file] of files) contents.set(path, new Uint8Array(await file.arrayBuffer()));
    const asked: string[] = [];
    await using server = await startServer((request, response) => {
      const url = new URL(request.url, "http://x");
      asked.push(url.search);
      const content = contents.get(url.pathname);
      if (content) ranges(content)(request, response);
      else response.writeHead(404).end();
    });
    await expectWhole(new URL(`/models/${nameOf(0, 3)}?key=1`, server.url), 3);
    // A key that one file is asked with is meant for all.
    expect(new Set(asked)).toEqual(new Set(["?key=1"]));
  });

  test("a part that says it is one of one is a whole model", async () => {
    const alone = new File([part(0, 1)], "m.gguf");
    expect((await read(alone)).files).toBeUndefined();
    expect((await read(alone)).tensors).toHaveLength(2);
  });

  test("a read across two files has the end of one and the start of the other", async () => {
    const files = parts(2);
    const source = await openSource(specOf(files));
    await readModel(source);
    const [first, second] = await Promise.all(
      files.map(async (file) => new Uint8Array(await file.arrayBuffer())),
    );
    const bytes = await source.read((first?.length ?? 0) - 5, 12);
    expect([...bytes]).toEqual([...(first?.slice(-5) ?? []), ...(second?.slice(0, 7) ?? [])]);
  });
});

describe("parts that do not belong together", () => {
  test("one file alone names what is missing", async () => {
    const error = (await read(parts(3)[0] as File).catch((reason: unknown) => reason)) as SluiceError;
    expect(error).toMatchObject({ code: "bad-model-file", details: { name: nameOf(1, 3) } });
    expect(error.remedy).toContain("together with the other files");
  });

  test("a part in the middle is missing", async () => {
    const error = await failing(parts(4).filter((_, i) => i !== 2));
    expect(error).toMatchObject({ code: "bad-model-file", details: { name: nameOf(2, 4) } });
  });

  test("another part was given as the first", async () => {
    const error = (await read(parts(3)[1] as File).catch((reason: unknown) => reason)) as SluiceError;
    expect(error).toMatchObject({ code: "bad-model-file", details: { part: 2, expectedPart: 1 } });
    expect(error.message).toContain("part 2 of 3, part 1 of 3 was expected; give the first part");
  });

  test.each<[string, Readonly<Record<number, PartLies>>, RegExp]>([
    ["a wrong number", { 1: { no: 2 } }, /part 3 of 3, part 2 of 3 was expected$/],
    ["another count", { 2: { count: 5 } }, /part 3 of 5, part 3 of 3 was expected$/],
    ["a first part of more than the name says", { 0: { count: 7 } }, /first of 7 files.*00007\.gguf/],
    ["fewer tensors than there should be", { 0: { tensors: 9 } }, /have 6 tensors, and should have 9$/],
    ["a tensor twice", { 2: { prefix: "1" } }, /two parts have a tensor 1\.a$/],
  ])("%s", async (_, lies, message) => {
    expect(await failing(parts(3, lies))).toMatchObject({ code: "bad-model-file", message });
  });

  test("a file that is not called as a part is", async () => {
    const error = await failing([new File([part(0, 2)], "model.gguf")]);
    expect(error).toMatchObject({ code: "bad-model-file", details: { parts: 2 } });
  });

  test("the header of a part is checked by itself", async () => {
    const [first, second] = parts(2) as [File, File];
    const cut = new File([(await second.arrayBuffer()).slice(0, -8)], second.name);
    const error = await failing([first, cut]);
    expect(error).toMatchObject({
      code: "bad-model-file",
      message: /1\.b ends at byte \d+, the file has \d+/,
    });
    expect(error.message).toContain(second.name);
  });
});
