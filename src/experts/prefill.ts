import type { Guess } from "./policy/policy.ts";

/** What a prefill needs to know of a site. */
export interface PrefillSite {
  readonly experts: number;
  readonly topK: number;
  /** Experts without a page, which count for nothing. */
  readonly pageless?: readonly number[] | undefined;
  /** How often each expert was needed, in any unit. Without it all count as used evenly. */
  readonly uses?: readonly number[] | undefined;
}

/**
 * `on-demand`: a site's route says what to bring. `ring`: while a site computes, all of the next one is brought in
 * without asking (SE-MoE), so that no site is waited for.
 */
export type PrefillMode = "on-demand" | "ring";

/** The ring is worth it when at most one in ten of the pages it brings is not needed. */
const RING_SHARE = 0.9;

/** The chance that a chunk needs the page of each expert of a site, if its tokens choose independently. [experts] */
export function touchChances(
  { experts, topK, pageless = [], uses }: PrefillSite,
  chunkTokens: number,
): number[] {
  const total = uses?.reduce((sum, n) => sum + n, 0) ?? 0;
  return Array.from({ length: experts }, (_, e) => {
    if (pageless.includes(e)) return 0;
    const share = total > 0 ? (uses?.[e] ?? 0) / total : 1 / (experts - pageless.length);
    return 1 - (1 - Math.min(1, share * topK)) ** chunkTokens;
  });
}

/** By how many distinct experts the chunk is going to touch. */
export function prefillMode(sites: readonly PrefillSite[], chunkTokens: number): PrefillMode {
  const touched = sites
    .flatMap((site) => touchChances(site, chunkTokens))
    .reduce((sum, chance) => sum + chance, 0);
  const all = sites.reduce((sum, { experts, pageless = [] }) => sum + experts - pageless.length, 0);
  return touched >= RING_SHARE * all ? "ring" : "on-demand";
}

/** What the ring brings for one site, for `ExpertPool.prefetch`; it takes as many as there are slots. */
export function ringGuesses(site: number, info: PrefillSite, chunkTokens: number, token: number): Guess[] {
  return touchChances(info, chunkTokens).map((score, expert) => ({ site, expert, token, score }));
}
