import type { Gpu } from "../../src/gpu/gpu.ts";
import type { PairArgs, PoolSegment } from "../../src/kernels/expert.ts";
import { maxTiles } from "../../src/kernels/group.ts";
import type { PageMatrix } from "../../src/kernels/matrix.ts";
import { ABSENT } from "../../src/kernels/route.ts";
import type { TensorType } from "../../src/quant/formats.ts";
import type { ExpertMatrix } from "../reference/index.ts";
import { expectClose, expectPoison, outputWords, storage } from "../support/gpu.ts";
import { normals, type Random } from "../support/random.ts";
import { WeightPage } from "../support/weight_page.ts";
import { grouping, packRoutes, type RouteSets } from "./routes.ts";

export interface PoolSpec {
  readonly experts: number;
  /** Experts without a page. The others have slots in reverse order. */
  readonly absent: readonly number[];
  /** Slots of each buffer of the pool; they may have room to spare. */
  readonly segments: readonly number[];
  /** The matrices of a page. */
  readonly matrices: readonly { readonly type: TensorType; readonly rows: number; readonly cols: number }[];
  /** Each matrix has a scale of its own in each page. */
  readonly isScaled: boolean;
  /** Each matrix has biases of its own in each page. */
  readonly isBiased?: boolean;
}

/** A pool of expert pages on the GPU, and its matrices as kernels and as the reference take them. */
export interface Pool {
  readonly pageBytes: number;
  readonly segments: readonly PoolSegment[];
  readonly matrices: readonly PageMatrix[];
  readonly reference: readonly ExpertMatrix[];
  readonly slotOf: (expert: number) => number;
}

export function makePool(gpu: Gpu, random: Random, spec: PoolSpec): Pool {
  const present = Array.from({ length: spec.experts }, (_, e) => e).filter((e) => !spec.absent.includes(e));
  const slotOf = (expert: number) =>
    present.includes(expert) ? present.length - 1 - present.indexOf(expert) : ABSENT;
  const scales = spec.matrices.map(() => Float32Array.from({ length: spec.experts }, () => 2 * random() - 1));
  const biases = spec.matrices.map(({ rows }) => normals(random, spec.isBiased ? spec.experts * rows : 0, 4));
  const pages = Array.from({ length: spec.experts }, (_, expert) => {
    const page = new WeightPage(random);
    const matrices = spec.matrices.map(({ type, rows, cols }, i) => {
      const { base, values } = page.matrix(type, rows, cols);
      const scale = page.floats((scales[i] as Float32Array).subarray(expert, expert + 1));
      const own = (biases[i] as Float32Array).subarray(expert * rows, (expert + 1) * rows);
      const bias = spec.isBiased && { bias: page.floats(own) };
      return { values, place: { type, base, rows, cols, ...(spec.isScaled && { scale }), ...bias } };
    });
    return { bytes: page.bytes(), matrices };
  });
  const pageBytes = pages[0]?.bytes.length ?? 0;
  let first = 0;
  const segments = spec.segments.map((slots): PoolSegment => {
    // A slot that no page was put into holds NaN.
    const bytes = new Uint8Array(slots * pageBytes).fill(0xff);
    for (const [expert, page] of pages.entries()) {
      const at = slotOf(expert) - first;
      if (at >= 0 && at < slots) bytes.set(page.bytes, at * pageBytes);
    }
    const segment = { buffer: storage(gpu, `slots from ${first}`, bytes), first, slots };
    first += slots;
    return segment;
  });
  const reference = spec.matrices.map(({ rows, cols }, i): ExpertMatrix => {
    const values = Float32Array.from(pages.flatMap((page) => Array.from(page.matrices[i]?.values ?? [])));
    return {
      ...{ values, rows, cols },
      ...(spec.isScaled && { scale: scales[i] as Float32Array }),
      ...(spec.isBiased && { bias: biases[i] as Float32Array }),
    };
  });
  return {
    pageBytes,
    segments,
    matrices: pages[0]?.matrices.map(({ place }) => place) ?? [],
    reference,
    slotOf,
  };
}

/** Pairs for the expert kernels: one by one, or grouped in tiles as `group` makes them. */
export function pairArgs(gpu: Gpu, routes: RouteSets, experts: number, tile: number | undefined): PairArgs {
  const { topK } = routes;
  const shared = { topK, experts, routes: storage(gpu, "routes", packRoutes(routes)) };
  if (tile === undefined) return shared;
  const { tiles, pairs } = grouping(routes, tile);
  const count = maxTiles(routes.counts.length, topK, experts, tile);
  const unused = Array.from({ length: count - tiles.length }, () => [ABSENT, 0, 0]);
  return {
    ...shared,
    grouped: {
      size: tile,
      tiles: storage(gpu, "tiles", Uint32Array.from([...tiles, ...unused].flat())),
      pairs: storage(gpu, "pairs", Uint32Array.from(pairs)),
    },
  };
}

/**
 * Checks the [pairs, rows] an expert kernel wrote: rows of present experts against `expected`, those of absent
 * ones for poison. Gives them all back.
 */
export async function expectRows(
  gpu: Gpu,
  buffer: GPUBuffer,
  expected: Float64Array,
  rows: number,
  isPresent: (pair: number) => boolean,
  tolerance: number,
): Promise<Float32Array> {
  const found = await outputWords(gpu, buffer, expected.length);
  const isOfPresent = (_: number, i: number) => isPresent(Math.floor(i / rows));
  expectClose(new Float32Array(found.filter(isOfPresent).buffer), expected.filter(isOfPresent), tolerance);
  expectPoison(
    found.filter((_, i) => !isPresent(Math.floor(i / rows))),
    "rows of absent experts",
  );
  return new Float32Array(found.buffer);
}
