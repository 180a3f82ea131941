import type { Policy } from "./policy.ts";

/**
 * For prefill chunks that touch nearly every expert, after SE-MoE's ring: what the step in hand has used is released
 * first, because in a circle it is the one needed last. LRU would evict each expert just before its turn.
 */
export function ring(): Policy {
  const last = new Map<number, number>();
  let clock = 0;
  return {
    used: (expert) => {
      last.set(expert, ++clock);
    },
    value: (expert) => (1 + clock - (last.get(expert) ?? clock)) / (2 + clock),
  };
}
