import { readFile } from "node:fs/promises";
import fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import { SluiceError } from "../../src/errors.ts";
import { readGguf } from "../../src/source/gguf.ts";
import type { ModelFile } from "../../src/source/model_file.ts";
import { openSource } from "../../src/source/open.ts";
import type { Source } from "../../src/source/source.ts";
import { f32Tensor, type GgufFile, type TensorEntry, writeGguf } from "../support/gguf_writer.ts";
import { ranges, startServer } from "./server.ts";

const TINY = new URL("../../demo/public/tiny-stories-moe-Q4_K_M.gguf", import.meta.url);

async function index(bytes: Uint8Array<ArrayBuffer> | Blob, name = "x.gguf"): Promise<ModelFile> {
  return readGguf(await openSource({ kind: "blob", blob: new Blob([bytes]), name }));
}

/** Reads the header; a failure must be a SluiceError. */
async function outcome(bytes: Uint8Array<ArrayBuffer> | Blob): Promise<ModelFile | SluiceError> {
  return index(bytes).catch((error: unknown) => {
    if (error instanceof SluiceError) return error;
    throw error;
  });
}

const matrix = f32Tensor("m", [4, 3], (i) => i);
const vector = f32Tensor("v", [8], (i) => -i);
const sound: GgufFile = {
  metadata: [
    { key: "general.architecture", type: "string", value: "qwen3moe" },
    { key: "small", type: "uint64", value: 7n },
    { key: "large", type: "uint64", value: 2n ** 60n },
    { key: "yes", type: "bool", value: true },
    { key: "half", type: "float32", value: 0.5 },
    { key: "tokens", type: "array", of: "string", value: ["a", "é", "日本"] },
    { key: "scores", type: "array", of: "int64", value: [-1n, 2n] },
  ],
  tensors: [matrix, vector],
};

test("a sound file: metadata as plain values, tensors outermost axis first", async () => {
  const bytes = writeGguf(sound);
  const file = await index(bytes);
  expect(file).toMatchObject({ format: "gguf", name: "x.gguf", size: bytes.byteLength });
  expect(file.metadata).toEqual({
    "general.architecture": "qwen3moe",
    small: 7,
    large: 2n ** 60n,
    yes: true,
    half: 0.5,
    tokens: ["a", "é", "日本"],
    scores: [-1, 2],
  });
  expect(structuredClone(file)).toEqual(file);
  expect(file.tensors.map(({ name, type, shape, bytes }) => ({ name, type, shape, bytes }))).toEqual([
    { name: "m", type: "F32", shape: [3, 4], bytes: 48 },
    { name: "v", type: "F32", shape: [8], bytes: 32 },
  ]);
  for (const [i, tensor] of [matrix, vector].entries()) {
    const { offset = 0, bytes: length = 0 } = file.tensors[i] ?? {};
    expect(bytes.slice(offset, offset + length)).toEqual(tensor.data);
  }
});

test("any power of two as alignment", async () => {
  for (const alignment of [1, 8, 64, 4096]) {
    const bytes = writeGguf({ ...sound, alignment });
    const file = await index(bytes);
    expect(file.tensors.every(({ offset }) => offset % alignment === 0)).toBe(true);
  }
});

test("a header that ends near a chunk of the parser, in a file that ends there too", async () => {
  for (const headerBytes of [1_499_000, 1_600_000, 1_999_900, 2_100_000, 3_900_000]) {
    const value = Array.from({ length: Math.floor(headerBytes / 1000) }, (_, i) =>
      String(i).padStart(992, "0"),
    );
    const tokens = { key: "tokens", type: "array", of: "string", value } as const;
    const file = await index(writeGguf({ metadata: [tokens], tensors: [vector] }));
    expect(file.metadata.tokens).toEqual(value);
    expect(file.tensors).toMatchObject([{ name: "v", shape: [8] }]);
  }
});

const raw = (name: string, typeId: number, dims: TensorEntry["dims"], bytes = 32): TensorEntry => ({
  name,
  typeId,
  dims,
  data: new Uint8Array(bytes),
});

const MAX = 2n ** 64n - 1n;
const hostile: [string, GgufFile, SluiceError["code"], RegExp][] = [
  ["wrong magic", { ...sound, magic: "GGML" }, "bad-model-file", /47 47 4d 4c/],
  ["version 1", { ...sound, version: 1 }, "unsupported-model", /version 1/],
  ["version 99", { ...sound, version: 99 }, "unsupported-model", /version 99/],
  ["big endian", { ...sound, bigEndian: true }, "unsupported-model", /big-endian/],
  ["more tensors than fit", { ...sound, tensorCount: MAX }, "bad-model-file", /18446744073709551615 tensors/],
  ["more metadata than fits", { ...sound, metadataCount: 10n ** 6n }, "bad-model-file", /1000000 metadata/],
  ["one tensor too many", { ...sound, tensorCount: 3n }, "bad-model-file", /./],
  ["one entry too many", { ...sound, metadataCount: 8n }, "bad-model-file", /./],
  ["alignment 0", { ...sound, alignment: 0 }, "bad-model-file", /alignment/],
  ["alignment 48", { ...sound, alignment: 48 }, "bad-model-file", /alignment is 48/],
  ["same name", { tensors: [matrix, { ...vector, name: "m" }] }, "bad-model-file", /two tensors are named m/],
  ["overlap", { tensors: [matrix, { ...vector, offset: 32 }] }, "bad-model-file", /m ends at \d+, v starts/],
  [
    "misaligned",
    { tensors: [{ ...vector, offset: 8 }] },
    "bad-model-file",
    /v is at 8, not a multiple of 32/,
  ],
  [
    "beyond the end",
    { tensors: [{ ...vector, offset: 32 }] },
    "bad-model-file",
    /ends at byte 128, the file has 96/,
  ],
  ["far beyond the end", { tensors: [{ ...vector, offset: MAX - 31n }] }, "bad-model-file", /v ends at byte/],
  ["unknown type", { tensors: [raw("odd", 77, [32])] }, "unsupported-model", /odd .*type 77/],
  ["part of a block", { tensors: [raw("q", 12, [255], 144)] }, "bad-model-file", /255 weights.*256/],
  ["rows of half blocks", { tensors: [raw("q", 2, [16, 2], 18)] }, "bad-model-file", /16 weights.*32/],
  ["dimension 0", { tensors: [raw("z", 0, [0, 4])] }, "bad-model-file", /0 × 4/],
  ["no dimension", { tensors: [raw("z", 0, [])] }, "bad-model-file", /0 axes/],
  ["five dimensions", { tensors: [raw("z", 0, [1, 1, 1, 1, 1])] }, "bad-model-file", /5 axes/],
  ["2^64 weights", { tensors: [raw("w", 0, [2n ** 32n, 2n ** 32n])] }, "bad-model-file", /impossible shape/],
  ["dimension 2^64", { tensors: [raw("w", 0, [MAX])] }, "bad-model-file", /18446744073709551615/],
];

test.each(hostile)("%s", async (_, file, code, message) => {
  const error = await outcome(writeGguf(file));
  expect(error).toMatchObject({ code });
  expect((error as SluiceError).message).toMatch(message);
  expect((error as SluiceError).remedy).not.toBe("");
});

test("arrays that claim more than there is", async () => {
  for (const of of ["uint8", "string", "array"] as const) {
    const bytes = writeGguf({ metadata: [{ key: "a", type: "array", of, value: [] }], tensors: [vector] });
    const view = new DataView(bytes.buffer);
    for (const length of [1000n, 900_000n, 2n ** 40n]) {
      // After the prefix: key length, "a", value type, element type, then the array's length.
      view.setBigUint64(24 + 8 + 1 + 4 + 4, length, true);
      expect(await outcome(bytes)).toMatchObject({ code: "bad-model-file" });
    }
  }
});

test("an empty file, four bytes, a page of HTML", async () => {
  expect(await outcome(new Uint8Array(0))).toMatchObject({ code: "bad-model-file", message: /0 bytes/ });
  expect(await outcome(new TextEncoder().encode("GGUF"))).toMatchObject({ details: { needed: 24, size: 4 } });
  expect(await outcome(new TextEncoder().encode("<!doctype html>"))).toMatchObject({
    code: "bad-model-file",
    details: { firstBytes: "3c 21 64 6f" },
  });
});

test("a __proto__ key stays data", async () => {
  const metadata = [{ key: "__proto__", type: "array", of: "uint8", value: [1] }] as const;
  const file = await index(writeGguf({ metadata, tensors: [vector] }));
  expect(Object.getPrototypeOf(file.metadata)).toBe(Object.prototype);
});

let tiny: Uint8Array<ArrayBuffer>;
beforeAll(async () => {
  tiny = new Uint8Array(await readFile(TINY));
});

test("a real file", async () => {
  const file = await index(tiny, "tiny.gguf");
  expect(file.metadata["general.architecture"]).toBe("qwen3moe");
  const end = Math.max(...file.tensors.map(({ offset, bytes }) => offset + bytes));
  expect(end).toBe(tiny.byteLength);
});

test("a real file over HTTP costs its header and little more", async () => {
  await using server = await startServer(ranges(tiny));
  const source = await openSource({ kind: "url", url: server.url });
  expect(await readGguf(source)).toEqual({ ...(await index(tiny)), name: "model.gguf" });
  expect(source.bytesFetched).toBeLessThanOrEqual(4_000_000);
});

test("a real file cut short anywhere: bad-model-file with both numbers", async () => {
  const lengths = new Set([5, 23, 24, 25, 100, 1000, 10_000, tiny.byteLength - 1]);
  for (let i = 1; i < 40; i++) lengths.add(Math.floor((i * tiny.byteLength) / 40));
  for (let i = 1; i < 30; i++) lengths.add(1000 + i * 9973);
  for (const size of lengths) {
    const error = await outcome(tiny.slice(0, size));
    expect(error).toMatchObject({ code: "bad-model-file", details: { size } });
  }
});

test("an abort ends it", async () => {
  const source = await openSource({ kind: "blob", blob: new Blob([tiny]), name: "x" });
  await expect(readGguf(source, AbortSignal.abort())).rejects.toMatchObject({ code: "aborted" });
});

test("what the source throws comes through, also after the first chunk", async () => {
  const value = Array.from({ length: 3000 }, (_, i) => String(i).padStart(992, "0"));
  const tokens = { key: "tokens", type: "array", of: "string", value } as const;
  const bytes = writeGguf({ metadata: [tokens], tensors: [vector] });
  const lost = new SluiceError("network", "lost", { remedy: "wait" });
  const source: Source = {
    id: "x",
    name: "x",
    size: bytes.byteLength,
    bytesFetched: 0,
    read: async (offset, length) => {
      if (offset > 0) throw lost;
      return bytes.slice(offset, offset + length);
    },
    close: () => {},
  };
  await expect(readGguf(source)).rejects.toBe(lost);
});

test("flipped header bytes end in a header or a SluiceError, whatever they are", async () => {
  const bytes = writeGguf(sound);
  const header = bytes.byteLength - matrix.data.byteLength - vector.data.byteLength;
  const flips = fc.array(fc.tuple(fc.nat(header - 1), fc.integer({ min: 1, max: 255 })), {
    minLength: 1,
    maxLength: 4,
  });
  await fc.assert(
    fc.asyncProperty(flips, async (list) => {
      const broken = bytes.slice();
      for (const [at, mask] of list) broken[at] = (broken[at] ?? 0) ^ mask;
      const result = await outcome(broken);
      if (result instanceof SluiceError) return;
      for (const { offset, bytes } of result.tensors)
        expect(offset + bytes).toBeLessThanOrEqual(broken.byteLength);
    }),
    { numRuns: 400 },
  );
});
