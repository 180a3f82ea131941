import { at, type Values } from "./dense.ts";

/** The PCG output hash (RXS-M-XS of 32 bits, O'Neill 2014) of one step of its generator. */
function pcg(value: bigint): bigint {
  const word = (n: bigint) => n & 0xffffffffn;
  const state = word(value * 747796405n + 2891336453n);
  const mixed = word(((state >> ((state >> 28n) + 4n)) ^ state) * 277803737n);
  return (mixed >> 22n) ^ mixed;
}

/** The seed of a site's own. */
export function siteSeed(seed: number, site: number): number {
  return Number(pcg(BigInt(seed) ^ pcg(BigInt(site))));
}

/** The expert that a site's seed draws at a place: a position, or 0 for a whole sequence. */
export function drawn(siteSeed: number, place: number, experts: number): number {
  return Number(pcg(BigInt(siteSeed) ^ pcg(BigInt(place))) % BigInt(experts));
}

/** How much the experts of one token that it names weigh, each the same: 1 over their number, or 1. */
export function namedWeights(named: readonly number[], isMean: boolean): number[] {
  return named.map(() => (isMean ? 1 / named.length : 1));
}

/** Rows of `x` [tokens, cols], each with `tail` behind it. */
export function withTail(x: Values, cols: number, tail: Values): Float64Array {
  const wide = cols + tail.length;
  return Float64Array.from({ length: (x.length / cols) * wide }, (_, i) => {
    const [t, c] = [Math.floor(i / wide), i % wide];
    return c < cols ? at(x, t * cols + c) : at(tail, c - cols);
  });
}
