import type { Gpu } from "../gpu/gpu.ts";
import type { PoolSegment } from "../kernels/expert.ts";
import { type MatrixPiece, type PageMatrix, VECTOR_BYTES } from "../kernels/matrix.ts";
import type { VectorPiece } from "../kernels/rmsnorm.ts";
import { ABSENT } from "../kernels/route.ts";
import { align } from "../quant/layout.ts";
import type { PagePart, PagePlan } from "../quant/page.ts";
import type { ModelPages } from "./pages.ts";
import type { Linear } from "./plan.ts";

/** A page's place in GPU memory, and for an expert its entry in the page table. */
interface Placed {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly entry?: { readonly offset: number; readonly slot: number };
}

/** The expert pool of one MoE site: equal slots, in segments that each fit a binding. */
export interface SiteWeights {
  readonly pageBytes: number;
  readonly segments: readonly PoolSegment[];
  readonly gate: PageMatrix;
  readonly up: PageMatrix;
  readonly down: PageMatrix;
  /** This site's row of the page table. */
  readonly pageTable: GPUBufferBinding;
}

/** A model's weights on the GPU: buffers, and where each tensor lies in them. */
export class Weights {
  readonly sites: readonly SiteWeights[];
  readonly #gpu: Gpu;
  readonly #dense = new Map<string, (MatrixPiece & VectorPiece)[]>();
  readonly #placed = new Map<number, Placed>();
  readonly #pageTable: GPUBuffer;
  readonly #siteStride: number;

  /** Allocates; `upload` fills. Every expert gets a slot. */
  constructor(gpu: Gpu, pages: ModelPages, layerOfSite: readonly number[]) {
    this.#gpu = gpu;
    for (const group of pages.denseGroups) this.#placeGroup(group);
    const experts = Math.max(0, ...pages.sites.map((site) => site.length));
    const alignment = gpu.device.limits.minStorageBufferOffsetAlignment;
    this.#siteStride = align(4 * (1 + experts), alignment);
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST;
    this.#pageTable = gpu.buffer("page table", this.#siteStride * Math.max(1, pages.sites.length), usage);
    this.sites = pages.sites.map((site, i) => this.#placeSite(site, i, layerOfSite[i] ?? 0));
  }

  /** The row pieces of a matrix, in order, with their bias and scale. */
  matrix({ weight, bias, scale }: Linear): MatrixPiece[] {
    return this.#pieces(weight.name).map((piece, i) => {
      const biasBase = bias && this.#pieces(bias.name)[i]?.base;
      const scaleBase = scale && this.#pieces(scale.name)[i]?.base;
      return {
        ...piece,
        ...(biasBase === undefined ? {} : { bias: biasBase }),
        ...(scaleBase === undefined ? {} : { scale: scaleBase }),
      };
    });
  }

  vector(name: string): VectorPiece {
    return this.#pieces(name)[0] as VectorPiece;
  }

  /** Puts a page's bytes where it belongs and, for an expert, makes it present in the page table. */
  upload(page: PagePlan, bytes: ArrayBuffer): void {
    const { buffer, offset, entry } = this.#placed.get(page.index) as Placed;
    this.#gpu.upload(buffer, offset, bytes);
    if (entry) this.#gpu.upload(this.#pageTable, entry.offset, Uint32Array.of(entry.slot));
  }

  #pieces(name: string): (MatrixPiece & VectorPiece)[] {
    const pieces = this.#dense.get(name);
    if (!pieces) throw new Error(`tensor ${name} is in no dense page`);
    return pieces;
  }

  /** Pages of a group in as few buffers as the binding limit allows. */
  #placeGroup(group: readonly PagePlan[]): void {
    let waiting: PagePlan[] = [];
    let bytes = 0;
    const flush = () => {
      if (waiting.length === 0) return;
      const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST;
      const buffer = this.#gpu.buffer(waiting[0]?.label ?? "dense", bytes, usage);
      let offset = 0;
      for (const page of waiting) {
        this.#placed.set(page.index, { buffer, offset });
        for (const part of page.parts) this.#placeDense(part, buffer, offset);
        offset += page.bytes;
      }
      waiting = [];
      bytes = 0;
    };
    for (const page of group) {
      if (bytes + page.bytes > this.#gpu.maxBindingBytes) flush();
      waiting.push(page);
      bytes += page.bytes;
    }
    flush();
  }

  #placeDense({ tensor, stored, rows, cols, offset }: PagePart, buffer: GPUBuffer, pageOffset: number): void {
    const pieces = this.#dense.get(tensor) ?? [];
    this.#dense.set(tensor, pieces);
    const base = (pageOffset + offset) / VECTOR_BYTES;
    pieces.push({ buffer, base, type: stored, rows, cols, length: rows * cols });
  }

  #placeSite(pages: readonly PagePlan[], site: number, layer: number): SiteWeights {
    const first = pages[0] as PagePlan;
    const pageBytes = first.bytes;
    const slotsEach = Math.max(1, Math.floor(this.#gpu.maxBindingBytes / pageBytes));
    const segments: PoolSegment[] = [];
    const tableRow = site * this.#siteStride;
    for (let slot = 0; slot < pages.length; slot += slotsEach) {
      const slots = Math.min(slotsEach, pages.length - slot);
      const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST;
      const buffer = this.#gpu.buffer(`experts of layer ${layer}`, slots * pageBytes, usage);
      segments.push({ buffer, first: slot, slots });
      pages.slice(slot, slot + slots).forEach(({ index }, i) => {
        const entry = { offset: tableRow + 4 * (1 + slot + i), slot: slot + i };
        this.#placed.set(index, { buffer, offset: i * pageBytes, entry });
      });
    }
    const row = new Uint32Array(1 + pages.length).fill(ABSENT);
    row[0] = layer;
    this.#gpu.upload(this.#pageTable, tableRow, row);
    const pageTable = { buffer: this.#pageTable, offset: tableRow, size: row.byteLength };
    const [gate, up, down] = pageMatrices(first.parts) as [PageMatrix, PageMatrix, PageMatrix];
    return { pageBytes, segments, gate, up, down, pageTable };
  }
}

/** The matrices of an expert page in order, each with the scale that follows it, if any. */
function pageMatrices(parts: readonly PagePart[]): PageMatrix[] {
  const matrices: PageMatrix[] = [];
  parts.forEach(({ rows, cols, stored, offset }, i) => {
    if (rows === 1 && cols === 1) return;
    const next = parts[i + 1];
    const scale = next && next.rows === 1 && next.cols === 1 ? { scale: next.offset / VECTOR_BYTES } : {};
    matrices.push({ type: stored, base: offset / VECTOR_BYTES, rows, cols, ...scale });
  });
  return matrices;
}
