import { softmax } from "./attention.ts";
import { at, type Values } from "./dense.ts";

/** residual + scale · Σ_e softmax(logits)_e · rows_e. logits [tokens, experts], rows [tokens, experts, cols] → [tokens, cols]. */
export function softMixture(
  logits: Values,
  rows: Values,
  experts: number,
  scale = 1,
  residual?: Values,
): Float64Array {
  const cols = rows.length / logits.length;
  const tokens = logits.length / experts;
  const out = new Float64Array(tokens * cols);
  for (let t = 0; t < tokens; t++) {
    const weights = softmax(Float64Array.from({ length: experts }, (_, e) => at(logits, t * experts + e)));
    for (let c = 0; c < cols; c++) {
      let sum = 0;
      for (let e = 0; e < experts; e++) sum += at(weights, e) * at(rows, (t * experts + e) * cols + c);
      out[t * cols + c] = scale * sum + (residual ? at(residual, t * cols + c) : 0);
    }
  }
  return out;
}
