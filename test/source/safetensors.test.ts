import { describe, expect, test } from "vitest";
import type { SluiceError, SluiceErrorCode } from "../../src/errors.ts";
import { BlobSource } from "../../src/source/blob.ts";
import type { ModelFile } from "../../src/source/model_file.ts";
import { openSource } from "../../src/source/open.ts";
import { readModel } from "../../src/source/read_model.ts";
import { readSafetensors } from "../../src/source/safetensors.ts";
import { specOf } from "../../src/source/spec.ts";
import { filesOf, textFiles } from "../support/hugging_face.ts";
import {
  type SafetensorsEntry,
  type SafetensorsLies,
  writeSafetensors,
} from "../support/safetensors_writer.ts";

function entry(
  name: string,
  dtype: string,
  shape: readonly number[],
  bytes: number,
  more = {},
): SafetensorsEntry {
  return { name, dtype, shape, data: new Uint8Array(bytes).fill(name.length), ...more };
}

const sound = [entry("a", "F32", [2, 3], 24), entry("bb", "F16", [4], 8), entry("ccc", "BF16", [1, 2, 2], 8)];

const outcome = (file: Uint8Array<ArrayBuffer>, name = "x.safetensors") =>
  readSafetensors(new BlobSource(name, name, new Blob([file]))).catch((error: unknown) => error);

test("a sound file: types, shapes and places", async () => {
  const file = writeSafetensors([...sound, entry("none", "F32", [0, 5], 0)]);
  const tensors = await readSafetensors(new BlobSource("x", "x", new Blob([file])));
  expect(tensors.map(({ name, type, shape, bytes }) => [name, type, shape, bytes])).toEqual([
    ["a", "F32", [2, 3], 24],
    ["bb", "F16", [4], 8],
    ["ccc", "BF16", [1, 2, 2], 8],
    ["none", "F32", [0, 5], 0],
  ]);
  for (const { name, offset, bytes } of tensors) {
    expect([...file.subarray(offset, offset + bytes)], name).toEqual(Array(bytes).fill(name.length));
  }
});

test("a header longer than what is read at first", async () => {
  const many = Array.from({ length: 2000 }, (_, i) => entry(`model.layers.${i}.weight`, "F16", [2], 4));
  const tensors = await outcome(writeSafetensors(many));
  expect(tensors).toHaveLength(2000);
});

const header = (fields: object) =>
  JSON.stringify({ a: { dtype: "F32", shape: [2], data_offsets: [0, 8], ...fields } });
const one = [entry("a", "F32", [2], 8)];

const hostile: [string, readonly SafetensorsEntry[], SafetensorsLies, SluiceErrorCode, RegExp][] = [
  [
    "a header longer than the file",
    one,
    { headerBytes: 5000n },
    "bad-model-file",
    /header has 5000 bytes.* has \d+$/,
  ],
  [
    "a header of 2^63 bytes",
    one,
    { headerBytes: 2n ** 63n },
    "bad-model-file",
    /header has 9223372036854775808 bytes.* the file has \d+$/,
  ],
  [
    "a header that is not JSON",
    one,
    { header: "{'a': 1}" },
    "bad-model-file",
    /header of 8 bytes is not JSON/,
  ],
  ["a header that is a list", one, { header: "[]" }, "bad-model-file", /not a JSON object/],
  ["an entry that is none", one, { header: '{"a":7}' }, "bad-model-file", /does not say .* of tensor a$/],
  ["no type", one, { header: header({ dtype: undefined }) }, "bad-model-file", /does not say type/],
  ["a negative axis", one, { header: header({ shape: [-2] }) }, "bad-model-file", /does not say type, shape/],
  ["an axis that is no number", one, { header: header({ shape: ["2"] }) }, "bad-model-file", /does not say/],
  ["one offset", one, { header: header({ data_offsets: [0] }) }, "bad-model-file", /does not say/],
  [
    "an absurd number of axes",
    one,
    { header: header({ shape: Array(99).fill(1) }) },
    "bad-model-file",
    /shape/,
  ],
  [
    "an unknown type",
    one,
    { header: header({ dtype: "F8_E4M3" }) },
    "unsupported-model",
    /tensor a .* type F8_E4M3/,
  ],
  [
    "a type from the prototype",
    one,
    { header: header({ dtype: "toString" }) },
    "unsupported-model",
    /toString/,
  ],
  [
    "too few bytes for the shape",
    one,
    { header: header({ shape: [3] }) },
    "bad-model-file",
    /8 bytes; .* takes 12$/,
  ],
  [
    "a shape beyond all numbers",
    one,
    { header: header({ shape: [2 ** 52, 2 ** 52, 2 ** 52] }) },
    "bad-model-file",
    /8 bytes; .* takes 365375409332725729550921208179070754913983135744$/,
  ],
  [
    "offsets that go backwards",
    one,
    { header: header({ data_offsets: [8, 0] }) },
    "bad-model-file",
    /-8 bytes; .* takes 8$/,
  ],
  [
    "data outside the file",
    one,
    { header: header({ data_offsets: [400, 408] }) },
    "bad-model-file",
    /tensor a ends at byte \d+, the file has \d+$/,
  ],
  [
    "tensors that overlap",
    [entry("a", "F32", [2], 8), entry("b", "F32", [2], 8, { offsets: [4, 12] })],
    {},
    "bad-model-file",
    /tensor b starts at byte \d+, but a ends at \d+$/,
  ],
  [
    "a gap",
    [entry("a", "F32", [2], 8), entry("b", "F32", [1], 8, { offsets: [12, 16] })],
    {},
    "bad-model-file",
    /tensor b starts at byte \d+, but a ends at \d+$/,
  ],
  ["bytes behind the last", one, { more: 3 }, "bad-model-file", /a ends at byte \d+, the file has \d+$/],
  [
    "two tensors of one name in a header",
    [entry("a", "F32", [1], 4), entry("b", "F32", [1], 4)],
    {
      header:
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
    },
    "bad-model-file",
    /tensor a starts at byte \d+, but the header ends at \d+$/,
  ],
];

describe("hostile headers", () => {
  test.each(hostile)("%s", async (_, entries, lies, code, message) => {
    const error = (await outcome(writeSafetensors(entries, lies))) as SluiceError;
    expect(error).toMatchObject({ code });
    expect(error.message).toMatch(message);
    expect(error.remedy).not.toBe("");
  });

  test.each([0, 5, 8])("a file of %d bytes", async (bytes) => {
    const error = (await outcome(new Uint8Array(bytes))) as SluiceError;
    expect(error).toMatchObject({ code: "bad-model-file" });
  });

  test("a header above what the format allows, of a file that is as large", async () => {
    const start = writeSafetensors(one, { headerBytes: 100_000_001n });
    const read = async (offset: number, bytes: number) => start.slice(offset, offset + bytes);
    const source = { id: "x", name: "x", size: 200_000_000, bytesFetched: 0, read, close: () => {} };
    const error = await readSafetensors(source).catch((reason: unknown) => reason);
    expect(error).toMatchObject({
      code: "bad-model-file",
      message: /100000001 bytes, more than the 100000000/,
    });
  });
});

const config = textFiles({ "config.json": '{"model_type":"x"}' });
const read = async (files: readonly File[]): Promise<ModelFile> => readModel(await openSource(specOf(files)));
const failing = async (files: readonly File[]) =>
  (await read(files).catch((error: unknown) => error)) as SluiceError;

describe("folders", () => {
  test("one file, with the texts of the tokenizer", async () => {
    const texts = textFiles({ "tokenizer.json": "{}", "generation_config.json": "{ }", "notes.json": "no" });
    const file = await read([...filesOf(sound, 1), ...config, ...texts]);
    expect(file).toMatchObject({ format: "safetensors", files: [{ name: "model.safetensors" }] });
    expect(file.metadata).toEqual({
      "config.json": '{"model_type":"x"}',
      "tokenizer.json": "{}",
      "generation_config.json": "{ }",
    });
  });

  test("three files: places count through them", async () => {
    const many = Array.from({ length: 7 }, (_, i) => entry("t".repeat(i + 1), "F32", [i + 1], 4 * (i + 1)));
    const files = filesOf(many, 3);
    const source = await openSource(specOf([...files, ...config]));
    const { tensors, size, files: listed } = await readModel(source);
    expect(listed?.map(({ name }) => name)).toEqual(
      [1, 2, 3].map((n) => `model-0000${n}-of-00003.safetensors`),
    );
    expect(size).toBe(listed?.reduce((sum, file) => sum + file.size, 0));
    expect(tensors).toHaveLength(7);
    for (const { name, offset, bytes } of tensors) {
      expect([...(await source.read(offset, bytes))], name).toEqual(Array(bytes).fill(name.length));
    }
  });

  test("no configuration", async () => {
    const error = await failing(filesOf(sound, 1));
    expect(error).toMatchObject({ code: "bad-model-file", details: { missing: "config.json" } });
  });

  test("no tensors", async () => {
    expect(await failing(config)).toMatchObject({
      code: "bad-model-file",
      message: /model.safetensors is missing/,
    });
  });

  test("a shard that is missing", async () => {
    const error = await failing([
      ...filesOf(sound, 3).filter(({ name }) => !name.includes("00002")),
      ...config,
    ]);
    expect(error).toMatchObject({
      code: "bad-model-file",
      message: /model-00002-of-00003.safetensors is missing/,
    });
  });

  const withIndex = (index: unknown, files = filesOf(sound, 2)) => [
    ...files.filter(({ name }) => !name.endsWith("index.json")),
    ...config,
    ...textFiles({
      "model.safetensors.index.json": typeof index === "string" ? index : JSON.stringify(index),
    }),
  ];
  const [first, second] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

  test.each<[string, unknown, RegExp]>([
    ["that is not JSON", "{", /1 characters are not JSON/],
    ["without a map", { metadata: {} }, /no weight_map/],
    ["with an empty map", { weight_map: {} }, /no weight_map/],
    ["that names no file", { weight_map: { a: 3 } }, /a is in 3/],
    ["that leads out of the folder", { weight_map: { a: "../x.safetensors" } }, /"..\/x.safetensors"/],
    ["that leads to another host", { weight_map: { a: "https://h/x.safetensors" } }, /no safetensors file/],
    [
      "that names a tensor no file has",
      { weight_map: { a: first, bb: second, dddd: first } },
      /says that model-00001.* has the tensor dddd, which no file has/,
    ],
    [
      "that names a tensor of another file",
      { weight_map: { a: second, bb: second, ccc: first } },
      /says that model-00002.* has the tensor a, which model-00001.* has/,
    ],
    [
      "of too many files",
      {
        weight_map: Object.fromEntries(Array.from({ length: 4097 }, (_, i) => [`t${i}`, `${i}.safetensors`])),
      },
      /4097 files, more than 4096/,
    ],
  ])("an index %s", async (_, index, message) => {
    expect(await failing(withIndex(index))).toMatchObject({ code: "bad-model-file", message });
  });

  test("two files with the same tensor", async () => {
    const both = [first, second].map((name) => new File([writeSafetensors(one)], name));
    const error = await failing(withIndex({ weight_map: { a: first, b: second } }, both));
    expect(error).toMatchObject({ code: "bad-model-file", message: /both have a tensor a/ });
  });

  test("several GGUF files of which none is the first", async () => {
    const error = await failing(["a.gguf", "b.gguf"].map((name) => new File(["x"], name)));
    expect(error).toMatchObject({ code: "bad-model-file", details: { files: 2, models: 2 } });
  });
});
