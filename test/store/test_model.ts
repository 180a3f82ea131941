import { align, placePlanes } from "../../src/quant/layout.ts";
import type { PagePart, PagePlan } from "../../src/quant/page.ts";
import { repackPart } from "../../src/quant/repack.ts";
import type { ModelFile, TensorInfo } from "../../src/source/model_file.ts";
import { f32Tensor, writeGguf } from "../support/gguf_writer.ts";

export interface Shape {
  readonly experts: number;
  readonly rows: number;
  readonly cols: number;
}

export const small: Shape = { experts: 6, rows: 4, cols: 8 };
/** Larger than the gap that is worth fetching: 80 KiB per expert and matrix. */
export const large: Shape = { experts: 12, rows: 160, cols: 128 };

/** What is read with the header. */
const CHUNK_BYTES = 2_000_000;

/**
 * A file with two F32 expert tensors and a vector; `seed` changes every weight. Before them lie as many bytes as
 * come with the header, unless `unused` says otherwise.
 */
export function modelBytes(
  { experts, rows, cols }: Shape,
  seed = 1,
  unused = CHUNK_BYTES,
): Uint8Array<ArrayBuffer> {
  return writeGguf({
    metadata: [{ key: "general.architecture", type: "string", value: "test" }],
    tensors: [
      { name: "unused", dims: [unused / 4], typeId: 0, data: new Uint8Array(unused) },
      f32Tensor("gate", [cols, rows, experts], (i) => i * seed),
      f32Tensor("up", [cols, rows, experts], (i) => -i * seed),
      f32Tensor("norm", [cols], (i) => i + seed),
    ],
  });
}

/** A page per expert with its two matrices, and a last page with the vector. */
export function modelPages(file: ModelFile): PagePlan[] {
  const [gate, up, norm] = ["gate", "up", "norm"].map((name) =>
    file.tensors.find((tensor) => tensor.name === name),
  );
  if (!gate || !up || !norm) throw new Error("not a file made by modelBytes");
  const experts = gate.shape[0] ?? 0;
  const pages: PagePlan[] = [];
  for (let expert = 0; expert < experts; expert++) {
    pages.push(page(pages.length, `expert ${expert}`, [slice(gate, expert), slice(up, expert)]));
  }
  pages.push(page(pages.length, "norm", [slice({ ...norm, shape: [1, 1, ...norm.shape] }, 0)]));
  return pages;
}

/** What a page must hold. */
export function pageBytes(page: PagePlan, file: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(page.bytes);
  for (const part of page.parts) {
    repackPart(part, file.subarray(part.source.offset, part.source.offset + part.source.bytes), bytes);
  }
  return bytes;
}

type Unplaced = Omit<PagePart, "offset">;

function slice(tensor: TensorInfo, expert: number): Unplaced {
  const [experts = 1, rows = 1, cols = 1] = tensor.shape;
  const bytes = tensor.bytes / experts;
  const source = { offset: tensor.offset + expert * bytes, bytes };
  const stored = "F32";
  const placed = placePlanes(stored, rows, cols).bytes;
  return { tensor: tensor.name, type: tensor.type, stored, rows, cols, source, bytes: placed };
}

function page(index: number, label: string, unplaced: readonly Unplaced[]): PagePlan {
  const parts: PagePart[] = [];
  let offset = 0;
  for (const part of unplaced) {
    parts.push({ ...part, offset });
    offset = align(offset + part.bytes, 256);
  }
  return { index, label, parts, bytes: offset };
}
