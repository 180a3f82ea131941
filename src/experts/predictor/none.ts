import type { Predictor } from "./predictor.ts";

/** Loads on demand only. */
export function none(): Predictor {
  return { start: () => [], fault: () => [], learn: () => {} };
}
