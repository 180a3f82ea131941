import type { ExpertActivity } from "../src/index.ts";
import { formatShare } from "./format.ts";

/** After so many tokens a use counts half. */
const HALF_LIFE_TOKENS = 16;
/** Misses per token; fewer are not marked any more. */
const LEAST_MISS = 0.02;

/** How busy the experts of one block have been lately. */
export interface LayerHeat {
  readonly layer: number;
  /** Recent uses, as a share of those of the busiest expert of the model: 0 to 1. */
  readonly heat: readonly number[];
  /** Whether an expert was missing lately when it was asked for. */
  readonly isMissing: readonly boolean[];
  readonly isResident: readonly boolean[];
}

interface SiteTrail {
  readonly uses: number[];
  readonly misses: number[];
}

/** Follows counts of uses and tells what is recent in them. */
export class HeatTrail {
  #last: ExpertActivity | undefined;
  #tokens = 0;
  #trails: SiteTrail[] = [];

  push(activity: ExpertActivity): LayerHeat[] {
    const last = this.#last;
    const isNew = last === undefined || last.tokens > activity.tokens;
    if (isNew) {
      this.#tokens = 0;
      this.#trails = activity.sites.map(({ uses }) => ({
        uses: uses.map(() => 0),
        misses: uses.map(() => 0),
      }));
    }
    const tokens = activity.tokens - (isNew ? 0 : last.tokens);
    const fade = 0.5 ** (tokens / HALF_LIFE_TOKENS);
    this.#tokens = this.#tokens * fade + tokens;
    this.#last = activity;
    for (const [i, { uses, misses }] of activity.sites.entries()) {
      const trail = this.#trails[i] as SiteTrail;
      const before = isNew ? undefined : last.sites[i];
      follow(trail.uses, uses, before?.uses, fade);
      follow(trail.misses, misses, before?.misses, fade);
    }
    const peak = Math.max(...this.#trails.flatMap(({ uses }) => uses));
    return activity.sites.map(({ layer, isResident }, i) => {
      const { uses, misses } = this.#trails[i] as SiteTrail;
      return {
        layer,
        heat: uses.map((count) => (peak > 0 ? count / peak : 0)),
        isMissing: misses.map((count) => count > LEAST_MISS * this.#tokens),
        isResident,
      };
    });
  }
}

function follow(
  trail: number[],
  counts: readonly number[],
  before: readonly number[] | undefined,
  fade: number,
): void {
  for (const [i, count] of counts.entries()) trail[i] = (trail[i] ?? 0) * fade + count - (before?.[i] ?? 0);
}

/** One row for each block with experts, for those who do not see the map. */
export interface LayerSummary {
  /** The layer's number, and the block where it is not the usual one. */
  readonly name: string;
  readonly uses: number;
  readonly misses: number;
  readonly used: number;
  readonly resident: number;
  readonly experts: number;
  /** Most used first. */
  readonly busiest: readonly { readonly expert: number; readonly share: number }[];
}

const BUSIEST = 3;

export function summariseLayers({ sites }: ExpertActivity): LayerSummary[] {
  return sites.map(({ layer, block, uses, misses, isResident }) => {
    const total = sum(uses);
    const order = [...uses.keys()].filter((expert) => (uses[expert] ?? 0) > 0);
    order.sort((a, b) => (uses[b] ?? 0) - (uses[a] ?? 0));
    return {
      name: block === "attention" ? `${layer}, attention` : String(layer),
      uses: total,
      misses: sum(misses),
      used: order.length,
      resident: isResident.filter(Boolean).length,
      experts: uses.length,
      busiest: order.slice(0, BUSIEST).map((expert) => ({ expert, share: (uses[expert] ?? 0) / total })),
    };
  });
}

/** The map in two sentences. */
export function describeActivity(activity: ExpertActivity): string {
  const layers = summariseLayers(activity);
  const count = (pick: (layer: LayerSummary) => number) => sum(layers.map(pick));
  const experts = count((layer) => layer.experts);
  if (experts === 0) return "This model has no experts: every token uses all of it.";
  const resident = count((layer) => layer.resident);
  const place = `${experts} experts in ${new Set(activity.sites.map(({ layer }) => layer)).size} layers, ${resident} of them in GPU memory.`;
  const uses = count((layer) => layer.uses);
  if (uses === 0) return `${place} None has been used since the model was loaded.`;
  const misses = count((layer) => layer.misses);
  const used = count((layer) => layer.used);
  const missed = misses === 0 ? "none was missing" : `${formatShare(misses / uses)} of the uses had to wait`;
  return `${place} ${activity.tokens} tokens used ${used} of them; ${missed}.`;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
