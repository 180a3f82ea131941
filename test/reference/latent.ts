import { attention, rope } from "./attention.ts";
import { at, dot, rmsnorm, type Values } from "./dense.ts";

/** A matrix for each head: [heads, rows, cols]. */
export interface HeadMatrices {
  readonly values: Values;
  readonly heads: number;
  readonly rows: number;
  readonly cols: number;
}

/** W[head] · x: [tokens, heads, cols] → [tokens, heads, rows]. */
export function headMatmul(x: Values, { values, heads, rows, cols }: HeadMatrices): Float64Array {
  return Float64Array.from({ length: (x.length / cols) * rows }, (_, i) => {
    const [vector, row] = [Math.floor(i / rows), i % rows];
    return dot(values, ((vector % heads) * rows + row) * cols, x, vector * cols, cols);
  });
}

/** W[head]ᵀ · x: [tokens, heads, rows] → [tokens, heads, cols]. */
export function headMatmulTransposed(x: Values, { values, heads, rows, cols }: HeadMatrices): Float64Array {
  return Float64Array.from({ length: (x.length / rows) * cols }, (_, i) => {
    const [vector, col] = [Math.floor(i / cols), i % cols];
    let sum = 0;
    for (let r = 0; r < rows; r++) {
      sum += at(values, ((vector % heads) * rows + r) * cols + col) * at(x, vector * rows + r);
    }
    return sum;
  });
}

/** Elements `first` to `first + count − 1` of runs of `width`. */
export function columns(x: Values, width: number, first: number, count: number): Float64Array {
  return Float64Array.from({ length: (x.length / width) * count }, (_, i) =>
    at(x, Math.floor(i / count) * width + first + (i % count)),
  );
}

/** Runs of `aWidth` and of `bWidth` numbers by turns. */
export function interleave(a: Values, aWidth: number, b: Values, bWidth: number): Float64Array {
  const width = aWidth + bWidth;
  return Float64Array.from({ length: a.length + b.length }, (_, i) => {
    const [run, column] = [Math.floor(i / width), i % width];
    return column < aWidth ? at(a, run * aWidth + column) : at(b, run * bWidth + column - aWidth);
  });
}

/** Multi-head latent attention (DeepSeek-AI 2024, arXiv 2405.04434) from the projections on. */
export interface LatentInputs {
  /** [tokens, heads, plain + rotary], not rotated */
  readonly q: Values;
  /** [positions, rank + rotary]: latents, not normalised, and keys, not rotated */
  readonly kv: Values;
  /** [rank], of the latents. */
  readonly norm: Values;
  readonly epsilon: number;
  /** rows: rank, cols: plain */
  readonly keyUp: HeadMatrices;
  /** cols: rank */
  readonly valueUp: HeadMatrices;
  readonly rotary: number;
  readonly frequencies: Values;
  readonly magnitude: number;
  readonly variant: "neox" | "normal";
  /** Position of each query; row j of `kv` has position j. */
  readonly positions: Values;
  readonly scale: number;
}

/** Latents normalised, keys and the rotary part of queries rotated. */
export function latentParts(inputs: LatentInputs) {
  const { q, kv, norm, rotary, positions, keyUp } = inputs;
  const { heads, rows: rank, cols: plain } = keyUp;
  const rows = kv.length / (rank + rotary);
  const everyPosition = Float64Array.from({ length: rows }, (_, p) => p);
  const keys = columns(kv, rank + rotary, rank, rotary);
  return {
    plain: columns(q, plain + rotary, 0, plain),
    turned: rope(columns(q, plain + rotary, plain, rotary), { ...inputs, heads, positions }),
    latents: rmsnorm(columns(kv, rank + rotary, 0, rank), norm, inputs.epsilon),
    keys: rope(keys, { ...inputs, heads: 1, positions: everyPosition }),
  };
}

/** As published: a key and a value for each head, made of the latent. [tokens, heads, valueSize] */
export function expandedLatentAttention(inputs: LatentInputs): Float64Array {
  const { keyUp, valueUp, rotary } = inputs;
  const { heads, cols, rows: rank } = keyUp;
  const { plain, turned, latents, keys } = latentParts(inputs);
  const forHeads = (x: Values, width: number) => {
    const rows = x.length / width;
    return Float64Array.from({ length: rows * heads * width }, (_, i) => {
      return at(x, Math.floor(i / (heads * width)) * width + (i % width));
    });
  };
  const k = headMatmulTransposed(forHeads(latents, rank), keyUp);
  return attention(
    interleave(plain, cols, turned, rotary),
    interleave(k, cols, forHeads(keys, rotary), rotary),
    headMatmul(forHeads(latents, rank), valueUp),
    { ...inputs, heads, kvHeads: heads },
  );
}

/** As computed: a head's matrices go to its query and its result, and all heads share the latent as key and value. */
export function absorbedLatentAttention(inputs: LatentInputs): Float64Array {
  const { keyUp, valueUp, rotary } = inputs;
  const { heads, rows: rank } = keyUp;
  const { plain, turned, latents, keys } = latentParts(inputs);
  const queries = interleave(headMatmul(plain, keyUp), rank, turned, rotary);
  const mixed = attention(queries, interleave(latents, rank, keys, rotary), latents, {
    ...inputs,
    heads,
    kvHeads: 1,
  });
  return headMatmul(mixed, valueUp);
}
