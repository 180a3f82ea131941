import type { ExpertSlots } from "../experts/stream.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { PoolSegment } from "../kernels/expert.ts";
import { type MatrixPiece, type PageMatrix, VECTOR_BYTES } from "../kernels/matrix.ts";
import type { VectorPiece } from "../kernels/rmsnorm.ts";
import { ROW_HEAD_WORDS } from "../kernels/route.ts";
import { align } from "../quant/layout.ts";
import type { PagePart, PagePlan } from "../quant/page.ts";
import type { ModelPages } from "./pages.ts";
import type { Linear } from "./plan.ts";

const HEAD_BYTES = 4 * ROW_HEAD_WORDS;

/** A page's place in GPU memory. */
interface Placed {
  readonly buffer: GPUBuffer;
  readonly offset: number;
}

/** The expert pool of one MoE site: equal slots, in segments that each fit a binding. */
export interface SiteWeights {
  readonly pageBytes: number;
  readonly segments: readonly PoolSegment[];
  /** Of an expert, in the order they are used. */
  readonly matrices: readonly PageMatrix[];
  /** This site's row of the page table. */
  readonly pageTable: GPUBufferBinding;
}

/** A model's weights on the GPU: dense ones for good, experts in as many slots as there is room for. */
export class Weights implements ExpertSlots {
  sites: readonly SiteWeights[] = [];
  readonly #pages: ModelPages;
  readonly #gpu: Gpu;
  readonly #dense = new Map<string, (MatrixPiece & VectorPiece)[]>();
  readonly #placed = new Map<number, Placed>();
  readonly #pageTable: GPUBuffer;
  readonly #siteStride: number;

  /** Allocates for what is dense; `uploadDense` fills it. */
  constructor(gpu: Gpu, pages: ModelPages) {
    this.#gpu = gpu;
    this.#pages = pages;
    for (const group of pages.denseGroups) this.#placeGroup(group);
    const experts = Math.max(0, ...pages.sites.map((site) => site.length));
    const alignment = gpu.device.limits.minStorageBufferOffsetAlignment;
    this.#siteStride = align(HEAD_BYTES + 4 * experts, alignment);
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST;
    this.#pageTable = gpu.buffer("page table", this.#siteStride * Math.max(1, pages.sites.length), usage);
  }

  /** Allocates for experts; `upload` and `show` fill. @param slots of each site */
  placeSites(slots: readonly number[]): readonly SiteWeights[] {
    this.sites = this.#pages.sites.map((site, i) => this.#placeSite(site, i, slots[i] as number));
    return this.sites;
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

  uploadDense(page: PagePlan, bytes: ArrayBuffer): void {
    const { buffer, offset } = this.#placed.get(page.index) as Placed;
    this.#gpu.upload(buffer, offset, bytes);
  }

  upload(site: number, slot: number, bytes: ArrayBuffer): void {
    const { segments, pageBytes } = this.sites[site] as SiteWeights;
    const segment = segments.findLast(({ first }) => first <= slot) as PoolSegment;
    this.#gpu.upload(segment.buffer, (slot - segment.first) * pageBytes, bytes);
  }

  show(site: number, row: Uint32Array<ArrayBuffer>): void {
    this.#gpu.upload(this.#pageTable, site * this.#siteStride + HEAD_BYTES, row);
  }

  /** @param head of `kernels/route.ts` */
  showHead(site: number, head: Uint32Array<ArrayBuffer>): void {
    this.#gpu.upload(this.#pageTable, site * this.#siteStride, head);
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

  #placeSite(pages: readonly (PagePlan | undefined)[], site: number, slots: number): SiteWeights {
    const { bytes: pageBytes, parts } = pages.find((page) => page !== undefined) as PagePlan;
    const slotsEach = Math.max(1, Math.floor(this.#gpu.maxBindingBytes / pageBytes));
    const segments: PoolSegment[] = [];
    for (let first = 0; first < slots; first += slotsEach) {
      const count = Math.min(slotsEach, slots - first);
      const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST;
      const buffer = this.#gpu.buffer(`experts of site ${site}`, count * pageBytes, usage);
      segments.push({ buffer, first, slots: count });
    }
    const offset = site * this.#siteStride;
    const size = HEAD_BYTES + 4 * pages.length;
    const pageTable = { buffer: this.#pageTable, offset, size };
    return { pageBytes, segments, matrices: pageMatrices(parts), pageTable };
  }
}

/** The matrices of an expert page in order, each with the scale and the bias that follow it, if any. */
function pageMatrices(parts: readonly PagePart[]): PageMatrix[] {
  const matrices: PageMatrix[] = [];
  for (const { rows, cols, stored, offset } of parts) {
    const base = offset / VECTOR_BYTES;
    const last = matrices.at(-1);
    if (rows > 1 || !last) matrices.push({ type: stored, base, rows, cols });
    else matrices[matrices.length - 1] = { ...last, ...(cols === 1 ? { scale: base } : { bias: base }) };
  }
  return matrices;
}
