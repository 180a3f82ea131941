import type { CapacityPlan } from "../api.ts";
import { SluiceError } from "../errors.ts";

/** What sharing out slots needs to know of a site. */
export interface CapacitySite {
  readonly experts: number;
  readonly pageBytes: number;
  /** How often each expert was needed, in any unit. For `measured` only. */
  readonly uses?: readonly number[] | undefined;
}

/**
 * `even`: the same share of every site. `shallow-first`: one slot each, then all of site 0, then site 1, … (Fate: early
 * sites are predicted worst). `measured`: one each, then slot by slot where the next most used expert saves most.
 *
 * @returns slots per site, 1 to `experts`, whose pages together take at most `budgetBytes`.
 * @throws SluiceError `out-of-memory` if one slot per site does not fit.
 */
export function shareSlots(
  sites: readonly CapacitySite[],
  budgetBytes: number,
  plan: CapacityPlan,
): number[] {
  const least = sites.reduce((sum, { pageBytes }) => sum + pageBytes, 0);
  if (budgetBytes < least) {
    throw new SluiceError(
      "out-of-memory",
      `one expert of each of ${sites.length} sites takes ${least} bytes, and ${budgetBytes} are left for experts`,
      {
        remedy: "Allow more GPU memory, shorten the context or take a smaller quantisation of the model.",
        details: { needed: least, available: budgetBytes, sites: sites.length },
      },
    );
  }
  const all = sites.map(() => 1);
  const spare = budgetBytes - least;
  if (plan === "even") return growEvenly(sites, all, spare);
  if (plan === "shallow-first") return growShallow(sites, all, spare);
  return growByUse(sites, all, spare);
}

/** Bytes of a pool with `slots[s]` slots at site s. */
export function poolBytes(sites: readonly CapacitySite[], slots: readonly number[]): number {
  return sites.reduce((sum, { pageBytes }, s) => sum + pageBytes * (slots[s] ?? 0), 0);
}

/** Always to the site with the least share of its experts; of equals to the first. */
function growEvenly(sites: readonly CapacitySite[], slots: number[], spare: number): number[] {
  return grow(sites, slots, spare, (site, held) => -held / site.experts);
}

function growShallow(sites: readonly CapacitySite[], slots: number[], spare: number): number[] {
  let left = spare;
  return sites.map(({ experts, pageBytes }, s) => {
    const more = Math.min(experts - (slots[s] as number), Math.floor(left / pageBytes));
    left -= more * pageBytes;
    return (slots[s] as number) + more;
  });
}

/** A site nobody measured counts as used evenly. */
function growByUse(sites: readonly CapacitySite[], slots: number[], spare: number): number[] {
  const falling = sites.map(({ experts, uses }) => {
    const total = uses?.reduce((sum, n) => sum + n, 0) ?? 0;
    return Array.from({ length: experts }, (_, e) =>
      total > 0 ? (uses?.[e] ?? 0) / total : 1 / experts,
    ).sort((a, b) => b - a);
  });
  return grow(sites, slots, spare, (_, held, s) => falling[s]?.[held] ?? 0);
}

/** Slot by slot to the site where the gain is largest, of equals to the first, as long as one more page fits. */
function grow(
  sites: readonly CapacitySite[],
  slots: number[],
  spare: number,
  gain: (site: CapacitySite, held: number, s: number) => number,
): number[] {
  let left = spare;
  for (;;) {
    let best = -1;
    let most = Number.NEGATIVE_INFINITY;
    for (const [s, site] of sites.entries()) {
      const held = slots[s] as number;
      if (held >= site.experts || site.pageBytes > left) continue;
      const value = gain(site, held, s);
      if (value > most) {
        best = s;
        most = value;
      }
    }
    if (best < 0) return slots;
    slots[best] = (slots[best] as number) + 1;
    left -= sites[best]?.pageBytes ?? left;
  }
}
