import { expect, test } from "vitest";
import { openSource, sourceId } from "../../src/source/open.ts";

const bytes = Uint8Array.from({ length: 1000 }, (_, i) => i & 255);

test("a File is read in place and named by name, size and modification time", async () => {
  const file = new File([bytes], "a.gguf", { lastModified: 5 });
  const source = await openSource({ kind: "blob", blob: file, name: "a.gguf" });
  expect(source).toMatchObject({ id: "file:a.gguf:1000:5", name: "a.gguf", size: 1000, bytesFetched: 0 });
  expect(await Promise.all([source.read(10, 20), source.read(15, 985)])).toEqual([
    bytes.slice(10, 30),
    bytes.slice(15),
  ]);
});

test("Blobs of one name and size are told apart by what is in them", async () => {
  const idOf = (content: Uint8Array<ArrayBuffer>) =>
    sourceId({ kind: "blob", blob: new Blob([content]), name: "blob" });
  const other = bytes.slice();
  other[999] = 0;
  expect(await idOf(bytes)).toBe(await idOf(bytes.slice()));
  expect(await idOf(bytes)).not.toBe(await idOf(other));
});

test("a handle is read through its file", async () => {
  const file = new File([bytes], "b.gguf", { lastModified: 6 });
  const handle = {
    kind: "file",
    name: "b.gguf",
    getFile: async () => file,
  } as unknown as FileSystemFileHandle;
  const source = await openSource({ kind: "file", handle });
  expect(source.id).toBe(await sourceId({ kind: "file", handle }));
  expect(await source.read(0, 1000)).toEqual(bytes);
});

test("a handle that went away, a range outside, an abort", async () => {
  const handle = {
    name: "c.gguf",
    getFile: () => Promise.reject(new DOMException("gone", "NotFoundError")),
  } as unknown as FileSystemFileHandle;
  await expect(openSource({ kind: "file", handle })).rejects.toMatchObject({ code: "bad-model-file" });
  const source = await openSource({ kind: "blob", blob: new Blob([bytes]), name: "d" });
  await expect(source.read(990, 11)).rejects.toMatchObject({
    code: "bad-model-file",
    details: { offset: 990, end: 1001, size: 1000 },
  });
  await expect(source.read(0, 1, AbortSignal.abort())).rejects.toMatchObject({ code: "aborted" });
});

test("a file that changed after it was chosen: bad-model-file", async () => {
  const blob = new File([bytes], "e.gguf");
  blob.slice = () =>
    ({ arrayBuffer: () => Promise.reject(new DOMException("changed", "NotReadableError")) }) as never;
  const source = await openSource({ kind: "blob", blob, name: "e.gguf" });
  await expect(source.read(0, 1)).rejects.toMatchObject({ code: "bad-model-file" });
});
