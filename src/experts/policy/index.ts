import { arc } from "./arc.ts";
import { farthest } from "./farthest.ts";
import { lfu } from "./lfu.ts";
import { lru } from "./lru.ts";
import type { PolicyFactory } from "./policy.ts";
import { ring } from "./ring.ts";
import { weighted } from "./weighted.ts";

/** Shallow-first pinning is not here: it is a way to share out slots, see `capacity.ts`. */
export const POLICIES = {
  lru,
  lfu,
  weighted: (site) => weighted(site),
  arc,
  farthest: farthest((site) => weighted(site)),
  ring,
} as const satisfies Readonly<Record<string, PolicyFactory>>;

export type PolicyName = keyof typeof POLICIES;
