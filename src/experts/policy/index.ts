import type { PolicyName } from "../../api.ts";
import { arc } from "./arc.ts";
import { farthest } from "./farthest.ts";
import { lfu } from "./lfu.ts";
import { lru } from "./lru.ts";
import type { PolicyFactory } from "./policy.ts";
import { weighted } from "./weighted.ts";

/**
 * Two that are not here, because slots belong to a site: pinning shallow layers is a way to share slots out
 * (`capacity.ts`), and the ring of layers is a way to run a prefill (`prefill.ts`).
 */
export const POLICIES = {
  lru,
  lfu,
  weighted: (site) => weighted(site),
  arc,
  farthest: farthest((site) => weighted(site)),
} as const satisfies Readonly<Record<PolicyName, PolicyFactory>>;

export type { PolicyName };
