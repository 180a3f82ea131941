import { integer, type Random } from "../support/random.ts";

/** RouteSets as kernels store them: [tokens, topK] of expert, slot and weight, and a count per token. */
export interface RouteSets {
  readonly topK: number;
  readonly experts: Uint32Array<ArrayBuffer>;
  readonly slots: Uint32Array<ArrayBuffer>;
  readonly weights: Float32Array<ArrayBuffer>;
  readonly counts: Uint32Array<ArrayBuffer>;
}

const WORDS = 3;

export function packRoutes({ experts, slots, weights }: RouteSets): Uint32Array<ArrayBuffer> {
  const bits = new Uint32Array(weights.buffer);
  return Uint32Array.from({ length: WORDS * experts.length }, (_, i) => {
    const field = [experts, slots, bits][i % WORDS] as Uint32Array;
    return field[Math.floor(i / WORDS)] as number;
  });
}

export function unpackRoutes(words: Uint32Array): Pick<RouteSets, "experts" | "slots" | "weights"> {
  const field = (k: number) =>
    Uint32Array.from({ length: words.length / WORDS }, (_, i) => words[WORDS * i + k] ?? 0);
  return { experts: field(0), slots: field(1), weights: new Float32Array(field(2).buffer) };
}

/** Routes with the given experts, in slots that `slotOf` names, with weights of either sign. */
export function routeSets(
  random: Random,
  topK: number,
  experts: readonly number[],
  slotOf: (expert: number) => number,
  counts?: readonly number[],
): RouteSets {
  return {
    topK,
    experts: Uint32Array.from(experts),
    slots: Uint32Array.from(experts, slotOf),
    weights: Float32Array.from(experts, () => 2 * random() - 0.5),
    counts: Uint32Array.from(counts ?? new Array(experts.length / topK).fill(topK)),
  };
}

/** `topK` different experts for each of `tokens` tokens. */
export function randomExperts(random: Random, tokens: number, topK: number, experts: number): number[] {
  return Array.from({ length: tokens }, () => {
    const left = Array.from({ length: experts }, (_, e) => e);
    return Array.from({ length: topK }, () => left.splice(integer(random, left.length), 1)[0] as number);
  }).flat();
}

export interface Grouping {
  /** [slot, first, count] of each tile, in the order of experts. */
  readonly tiles: readonly (readonly [number, number, number])[];
  /** Pairs in use, by expert, within an expert in order. */
  readonly pairs: readonly number[];
}

/** What `group` should make of routes. */
export function grouping({ topK, experts, slots, counts }: RouteSets, tile: number): Grouping {
  const used = Array.from(experts, (_, pair) => pair).filter((pair) => {
    return pair % topK < (counts[Math.floor(pair / topK)] as number);
  });
  const pairs: number[] = [];
  const tiles: [number, number, number][] = [];
  for (const expert of new Set(Array.from(experts).sort((a, b) => a - b))) {
    const own = used.filter((pair) => experts[pair] === expert);
    for (let i = 0; i < own.length; i += tile) {
      tiles.push([slots[own[i] as number] as number, pairs.length + i, Math.min(tile, own.length - i)]);
    }
    pairs.push(...own);
  }
  return { tiles, pairs };
}
