import { BlobSource } from "../../src/source/blob.ts";
import { readGguf } from "../../src/source/gguf.ts";
import { GgufEdit } from "../model/gguf_edit.ts";

/** A GGUF file in two, as `<stem>-00001-of-00002.gguf` and the other: tensors by turns. */
export async function splitGguf(gguf: Uint8Array<ArrayBuffer>, stem: string): Promise<File[]> {
  const { tensors } = await readGguf(new BlobSource("gguf", "gguf", new Blob([gguf])));
  return [0, 1].map((part) => {
    const edit = new GgufEdit(gguf).set("split.no", part).set("split.count", 2);
    edit.set("split.tensors.count", tensors.length);
    for (const [i, { name }] of tensors.entries()) if (i % 2 !== part) edit.remove(name);
    return edit.file(`${stem}-0000${part + 1}-of-00002.gguf`);
  });
}
