import type { Ranking } from "./predictor.ts";

/** What a router says with logits [experts]: the best `count`, lower index first of equals, with their softmax weights. */
export function rank(logits: Float32Array, site: number, from: number, count: number): Ranking {
  const order = Array.from(logits.keys()).sort(
    (a, b) => (logits[b] as number) - (logits[a] as number) || a - b,
  );
  const experts = order.slice(0, count);
  const top = logits[order[0] ?? 0] ?? 0;
  const mass = logits.reduce((sum, l) => sum + Math.exp(l - top), 0);
  const weights = experts.map((expert) => Math.exp((logits[expert] as number) - top) / mass);
  return { site, from, experts, weights };
}
