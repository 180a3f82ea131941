import { isFloat } from "../quant/floats.ts";
import { fileBytes, type TensorType } from "../quant/formats.ts";
import { align, placePlanes } from "../quant/layout.ts";
import type { PagePart, PagePlan } from "../quant/page.ts";
import { requireQuantiser } from "../quant/quantise.ts";
import type { TensorInfo } from "../source/model_file.ts";
import { mixerOf } from "./blocks/mixer.ts";
import { constantExperts, type ExpertSpec, expertLinears } from "./moe_plan.ts";
import {
  type Block,
  type FeedForwardBlock,
  hasWholeGroups,
  type Linear,
  type ModelPlan,
  moeLayers,
  moeOf,
  type NormSpec,
  outputLinears,
  recurrentCells,
  ropeSpecs,
  tokenReader,
} from "./plan.ts";

/** Dense tensors travel in pages of at most this size, unless a single row is larger. */
export const PIECE_BYTES = 16 * 1024 * 1024;
const PART_ALIGNMENT_BYTES = 256;

/** Every page of a model, and which of them belong together in a GPU buffer. */
export interface ModelPages {
  readonly pages: readonly PagePlan[];
  /** Dense pages: the embedding, each layer, the output. A group shares buffers. */
  readonly denseGroups: readonly (readonly PagePlan[])[];
  /** Expert pages: [site][expert]; undefined for experts that have none. */
  readonly sites: readonly (readonly (PagePlan | undefined)[])[];
  /** Bytes of the model file behind all pages. */
  readonly sourceBytes: number;
}

/** Cuts a model into pages. The order of pages is the order they are best fetched in. */
export function planPages(plan: ModelPlan): ModelPages {
  const pages: PagePlan[] = [];
  const add = (label: string, parts: readonly PagePart[]): PagePlan => {
    const last = parts.at(-1);
    const bytes = last ? align(last.offset + last.bytes, PART_ALIGNMENT_BYTES) : 0;
    const page = { index: pages.length, label, parts, bytes };
    pages.push(page);
    return page;
  };
  const denseGroup = (label: string, units: readonly Unit[]) =>
    packUnits(units).map((parts) => add(label, parts));
  const denseGroups = [
    denseGroup("embedding", [
      embeddingUnit(plan.embedding),
      ...(plan.positions ? [linearUnit(plan.positions)] : []),
    ]),
  ];
  // What all layers share lies with none of them: like layers keep the same offsets.
  const cells = recurrentCells(plan).flatMap(({ input, state }) => [...input, ...state]);
  if (cells.length > 0) denseGroups.push(denseGroup("router cell", cells.map(linearUnit)));
  const shared = sharedByRouters(plan);
  if (shared.length > 0) denseGroups.push(denseGroup("routers", shared));
  const sites: (PagePlan | undefined)[][] = [];
  plan.layers.forEach(({ blocks }, l) => {
    denseGroups.push(denseGroup(`layer ${l}`, blocks.flatMap(blockUnits)));
    for (const block of blocks) {
      const moe = moeOf(block);
      if (!moe) continue;
      const { table, experts } = moe;
      const kind = block.kind === "feed-forward" ? "expert" : "attention expert";
      const site = new Array<PagePlan | undefined>(experts).fill(undefined);
      for (const { first, count, spec } of table) {
        if (expertLinears(spec).length === 0) continue;
        for (let i = 0; i < count; i++)
          site[first + i] = add(`layer ${l} ${kind} ${first + i}`, expertParts(spec, i, count));
      }
      sites.push(site);
    }
  });
  const factors = ropeSpecs(plan).flatMap((rope) => [rope.factors, rope.longFactors?.tensor]);
  const vectors = vectorUnit([...normVectors(plan.finalNorm), ...factors]);
  const { embedding } = plan;
  const untied = outputLinears(plan).filter(
    ({ weight }) => "kind" in embedding || weight !== embedding.weight,
  );
  const head = [vectors, ...untied.map(linearUnit)];
  denseGroups.push(denseGroup("output", head));
  const sourceBytes = pages.flatMap(({ parts }) => parts).reduce((sum, { source }) => sum + source.bytes, 0);
  return { pages, denseGroups, sites, sourceBytes };
}

/** Tensors that must lie in the same page: a matrix with its bias and scale, or small vectors. */
interface Unit {
  readonly matrix?: TensorInfo;
  readonly vectors: readonly TensorInfo[];
}

/** A part before it is placed in a page. */
type Unplaced = Omit<PagePart, "offset">;

function linearUnit({ weight, bias, scale }: Linear): Unit {
  // Rows that are no whole groups have no layout of their own: floats, one after the other.
  if (!hasWholeGroups(weight)) return vectorUnit([weight, bias, scale]);
  return { matrix: weight, ...vectorUnit([bias, scale]) };
}

function embeddingUnit(embedding: ModelPlan["embedding"]): Unit {
  // Rows of a point's few numbers are no matrix of blocks.
  return "kind" in embedding ? vectorUnit([embedding.gate, embedding.value]) : linearUnit(embedding);
}

function vectorUnit(vectors: readonly (TensorInfo | undefined)[]): Unit {
  return { vectors: vectors.filter((tensor) => tensor !== undefined) };
}

function normVectors(norm: NormSpec | undefined): (TensorInfo | undefined)[] {
  return [norm?.weight, norm?.bias];
}

function blockUnits(block: Block): Unit[] {
  const isOwn = block.kind !== "feed-forward" || !block.parallel;
  const norms = [isOwn ? block.norm : undefined, block.postNorm].map((norm) => vectorUnit(normVectors(norm)));
  const moe = moeOf(block);
  const { layers = [], previous, selectionBias, shape, cosine, tree } = moe?.router.logits ?? {};
  const routers = [...(moe?.router.input === "token" ? [] : layers), ...(previous ? [previous] : [])];
  const routing = [
    selectionBias,
    shape?.bias,
    tree?.permutations,
    moe?.bias,
    cosine?.centroids,
    cosine?.temperature?.tensor,
  ];
  if (block.kind === "feed-forward") {
    const constants = moe ? constantExperts(moe) : [];
    const linears = [...routers, ...constants.map(({ gate }) => gate), ...baseLinears(block)];
    // Constants in one unit, since one binding reads them.
    const vectors = [...routing, ...constants.map(({ vector }) => vector)];
    return [...norms, vectorUnit(vectors), ...linears.map(linearUnit)];
  }
  const mixer = mixerOf(block);
  const linears = [...mixer.linears(block), ...routers];
  return [...norms, vectorUnit([...mixer.vectors(block), ...routing]), ...linears.map(linearUnit)];
}

/** What routers of several layers have in common, each once. */
function sharedByRouters(plan: ModelPlan): Unit[] {
  const routers = moeLayers(plan).map(({ moe }) => moe.router);
  const linears = routers.flatMap(({ input, reader, logits }) =>
    input === "token" ? [...(reader ? [reader.table] : []), ...logits.layers] : [],
  );
  const reader = tokenReader(plan);
  const embeddings = routers.flatMap(({ tasks }) => (tasks?.embedding ? [tasks.embedding] : []));
  const vectors = new Map(embeddings.map((embedding) => [embedding.name, embedding]));
  const once = new Map(linears.map((linear) => [linear.weight.name, linear]));
  return [
    ...[...once.values()].map(linearUnit),
    ...[...vectors.values()].map((vector) => vectorUnit([vector])),
    ...(reader?.blocks.flatMap(blockUnits) ?? []),
    vectorUnit(normVectors(reader?.norm)),
  ].filter(({ matrix, vectors }) => matrix || vectors.length > 0);
}

/** Matrices of what is always on: gate and up and the gate over it all, then down. */
function baseLinears({ base, mix }: FeedForwardBlock): Linear[] {
  const linears = base ? expertLinears(base.expert) : [];
  return [
    ...linears.slice(0, -1),
    ...(base?.gate ? [base.gate] : []),
    ...linears.slice(-1),
    ...(mix ? [mix] : []),
  ];
}

/** Parts of each page of a group: units in order, a new page where the next would make it too large. */
function packUnits(units: readonly Unit[]): PagePart[][] {
  const pages: PagePart[][] = [[]];
  let end = 0;
  for (const parts of units.flatMap(piecesOf)) {
    const bytes = parts.reduce((sum, part) => sum + align(part.bytes, PART_ALIGNMENT_BYTES), 0);
    if (end > 0 && end + bytes > PIECE_BYTES) {
      pages.push([]);
      end = 0;
    }
    for (const part of parts) {
      pages.at(-1)?.push({ ...part, offset: end });
      end += align(part.bytes, PART_ALIGNMENT_BYTES);
    }
  }
  return pages.filter((parts) => parts.length > 0);
}

/** A unit's parts; a matrix above PIECE_BYTES becomes row ranges, each with its share of the bias. */
function piecesOf({ matrix, vectors }: Unit): Unplaced[][] {
  if (matrix?.slices) {
    return slicesOf(matrix).flatMap((slice, i) =>
      piecesOf({
        matrix: slice,
        vectors: vectors.map((vector) => (vector.slices ? (slicesOf(vector)[i] as TensorInfo) : vector)),
      }),
    );
  }
  if (!matrix)
    return vectors.length > 0 ? [vectors.map((vector) => vectorPart(vector, 0, length(vector)))] : [];
  const { rows, cols } = matrixSize(matrix);
  const rowsEach = rowsOfPiece(matrix, vectors);
  const pieces: Unplaced[][] = [];
  for (let first = 0; first < rows; first += rowsEach) {
    const count = Math.min(rowsEach, rows - first);
    const shares = vectors.map((vector) =>
      length(vector) === rows ? vectorPart(vector, first, count) : vectorPart(vector, 0, length(vector)),
    );
    pieces.push([matrixPart(matrix, first, count, cols), ...shares]);
  }
  return pieces;
}

/** The slices of a matrix whose rows lie apart in the file, each as a matrix. */
function slicesOf({ slices = [], shape, bytes, ...matrix }: TensorInfo): TensorInfo[] {
  const [count = 1, ...size] = shape;
  return slices.map((offset) => ({ ...matrix, shape: size, bytes: bytes / count, offset }));
}

/** Matrices of heads lie one below the other. */
function matrixSize({ shape }: TensorInfo) {
  const cols = shape.at(-1) ?? 1;
  return { rows: product(shape) / cols, cols };
}

/** Most rows of a matrix that fit a page with their share of `vectors`; at least one. */
function rowsOfPiece(matrix: TensorInfo, vectors: readonly TensorInfo[]): number {
  const { type, stored = type } = matrix;
  const { rows, cols } = matrixSize(matrix);
  const bytesOf = (count: number) => {
    const lengths = vectors.map((vector) => (length(vector) === rows ? count : length(vector)));
    // What is quantised comes from more bytes than it takes, which are held all the same.
    const held = stored === type ? 0 : fileBytes(type, count * cols);
    const matrixBytes = Math.max(placePlanes(stored, count, cols).bytes, held);
    const parts = [{ bytes: matrixBytes }, ...lengths.map((n) => placePlanes("F32", 1, n))];
    return parts.reduce((sum, { bytes }) => sum + align(bytes, PART_ALIGNMENT_BYTES), 0);
  };
  let count = Math.min(rows, Math.ceil(PIECE_BYTES / (bytesOf(rows) / rows)));
  while (count > 1 && bytesOf(count) > PIECE_BYTES) count--;
  return count;
}

/** The matrices of the `expert`-th of `experts`, each with its scale and its bias behind it, out of the stacked tensors. */
function expertParts(spec: ExpertSpec, expert: number, experts: number): PagePart[] {
  const parts = expertLinears(spec).flatMap(({ weight, scale, bias }) => {
    const [rows = 1, cols = 1] = weight.shape.slice(-2);
    const { slices } = weight;
    const matrix = slices
      ? matrixPart({ ...weight, offset: slices[expert] as number }, 0, rows, cols)
      : matrixPart(weight, expert * rows, rows, cols);
    const own = [scale, bias].filter((tensor) => tensor !== undefined);
    return [
      matrix,
      ...own.map((tensor) => {
        const each = length(tensor) / experts;
        if (!tensor.slices) return vectorPart(tensor, expert * each, each);
        return vectorPart(slicesOf(tensor)[expert] as TensorInfo, 0, each);
      }),
    ];
  });
  let offset = 0;
  return parts.map((part) => {
    const placed = { ...part, offset };
    offset += align(part.bytes, PART_ALIGNMENT_BYTES);
    return placed;
  });
}

function length({ shape }: TensorInfo): number {
  return product(shape);
}

function product(shape: readonly number[]): number {
  return shape.reduce((all, n) => all * n, 1);
}

function matrixPart(
  { name, type, stored = type, shape, offset, bytes, gather }: TensorInfo,
  firstRow: number,
  rows: number,
  cols: number,
): Unplaced {
  requireConversion(type, stored);
  const rowBytes = bytes / (product(shape) / cols);
  const part = { tensor: name, type, stored, rows, cols, bytes: placePlanes(stored, rows, cols).bytes };
  if (!gather) return { ...part, source: { offset: offset + firstRow * rowBytes, bytes: rows * rowBytes } };
  const { first, row, col } = gather;
  const picked = { first: first + firstRow * row, row, col };
  return { ...part, source: { offset, bytes: gather.bytes }, gather: picked };
}

/** A vector is one row of F32. */
function vectorPart(tensor: TensorInfo, first: number, count: number): Unplaced {
  const each = tensor.bytes / length(tensor);
  const source = { offset: tensor.offset + first * each, bytes: count * each };
  const { name, type } = tensor;
  requireConversion(type, "F32");
  return {
    tensor: name,
    type,
    stored: "F32",
    rows: 1,
    cols: count,
    source,
    bytes: placePlanes("F32", 1, count).bytes,
  };
}

/** Told when pages are planned, not when the first of them is read. */
function requireConversion(type: TensorType, stored: TensorType): void {
  if (stored !== type && !(stored === "F32" && isFloat(type))) requireQuantiser(stored);
}
