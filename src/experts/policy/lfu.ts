import type { Policy, PolicySite } from "./policy.ts";

/** Least frequently used, counted over all time (earlier runs too) and for absent experts as well. */
export function lfu({ experts, uses }: PolicySite): Policy {
  const counts = Float64Array.from({ length: experts }, (_, e) => uses?.[e] ?? 0);
  let most = Math.max(1, ...counts);
  return {
    used: (expert) => {
      counts[expert] = (counts[expert] as number) + 1;
      most = Math.max(most, counts[expert] as number);
    },
    value: (expert) => (counts[expert] as number) / (1 + most),
  };
}
