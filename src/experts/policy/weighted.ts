import type { Policy, PolicySite } from "./policy.ts";

/** Tokens after which a use counts half: locality beyond a paragraph, but not a topic that is over. */
const HALF_LIFE_TOKENS = 16;

/**
 * Frequency-weighted LRU: an expert's value is the share of recent tokens that needed it, each weighted by
 * 2^(-age / half-life). The half-life interpolates between LRU (short) and LFU (long), as in LRFU (Lee et al. 2001).
 */
export function weighted(site: PolicySite, halfLifeTokens = HALF_LIFE_TOKENS): Policy {
  const shares = priorShares(site);
  const at = new Float64Array(site.experts);
  const keep = 2 ** (-1 / halfLifeTokens);
  const value = (expert: number, token: number): number =>
    (shares[expert] as number) * keep ** Math.max(0, token - (at[expert] as number));
  return {
    used: (expert, token) => {
      shares[expert] = value(expert, token) + (1 - keep);
      at[expert] = token;
    },
    value,
  };
}

/** Earlier runs count as if they had just ended, at half weight. */
function priorShares({ experts, topK, uses }: PolicySite): Float64Array<ArrayBuffer> {
  const total = uses?.reduce((sum, n) => sum + n, 0) ?? 0;
  return Float64Array.from({ length: experts }, (_, e) =>
    total > 0 ? ((uses?.[e] ?? 0) / total) * topK * 0.5 : 0,
  );
}
