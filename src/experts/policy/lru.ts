import type { Policy } from "./policy.ts";

/** Least recently used. An expert used a tokens ago is worth 1 / (1 + a). */
export function lru(): Policy {
  const last = new Map<number, number>();
  return {
    used: (expert, token) => {
      last.set(expert, token);
    },
    value: (expert, token) => 1 / (1 + token - (last.get(expert) ?? Number.NEGATIVE_INFINITY)),
  };
}
