import { softmax } from "./attention.ts";
import { at, type Matrix, matmul, type Values } from "./dense.ts";

/** An expert without a page. */
export type PagelessExpert =
  | { readonly kind: "zero" }
  | { readonly kind: "copy" }
  /** [cols], and [2, cols]. */
  | { readonly kind: "constant"; readonly vector: Values; readonly gate: Matrix };

/** 0, x, or a · x + b · vector, [a, b] = softmax(gate · x). x [cols]. */
export function pagelessExpert(x: Values, expert: PagelessExpert): Float64Array {
  if (expert.kind === "zero") return new Float64Array(x.length);
  if (expert.kind === "copy") return Float64Array.from(x);
  const [a, b] = softmax(matmul(x, expert.gate)) as unknown as [number, number];
  return Float64Array.from(x, (value, i) => a * value + b * at(expert.vector, i));
}
