/** Numbers in [0, 1), the same for the same seed: mulberry32. */
export type Random = () => number;

export function seeded(seed: number): Random {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let word = Math.imul(state ^ (state >>> 15), state | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return ((word ^ (word >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Whole numbers in [0, below). */
export const integer = (random: Random, below: number): number => Math.floor(random() * below);

/** `count` normal numbers (Box and Muller) with standard deviation `scale`. */
export function normals(random: Random, count: number, scale = 1): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: count }, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - random()));
    return scale * radius * Math.cos(2 * Math.PI * random());
  });
}
