import { at, type Values } from "./dense.ts";

export interface MomentumOptions {
  readonly factor: number;
  readonly step: number;
  readonly adam?: { readonly mean: number; readonly square: number; readonly step: number } | undefined;
}

/**
 * MomentumSMoE's rules as its authors' code has them: what the block gives changes the velocity p, which is taken from x.
 * Adam's form adds x to what it takes away.
 */
export function momentum(f: Values, p: Values, x: Values, { factor, step, adam }: MomentumOptions) {
  const velocity = Float64Array.from({ length: x.length }, (_, i) => factor * at(p, i) + step * at(f, i));
  const moved = Float64Array.from({ length: x.length }, (_, i) => {
    if (!adam) return at(x, i) - at(velocity, i);
    const mean = (1 - adam.mean) * at(f, i);
    const square = (1 - adam.square) * at(f, i) ** 2;
    return at(x, i) - ((adam.step * mean) / Math.sqrt(square + 1e-8) + at(x, i));
  });
  return { velocity, moved };
}
