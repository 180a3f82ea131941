import type { LayerRouting, RoutingChange, RoutingNumbers, RoutingRange } from "../api.ts";
import { SluiceError } from "../errors.ts";
import { rowHead } from "../kernels/route.ts";
import { type MoeSpec, maxRoutes } from "./moe_plan.ts";
import { type ModelPlan, moeLayers, type SitePlace } from "./plan.ts";

/** Beyond it a temperature's inverse, or a logit times it, leaves the range of f32. */
const EXTREME_TEMPERATURE = 1e6;

/** Where heads of the page table go. */
export interface RowHeads {
  showHead(site: number, head: Uint32Array<ArrayBuffer>): void;
}

/** The free numbers of a model's routing rules: what holds, what is allowed, and what the GPU has been told. */
export class Routing {
  /** The model's own. */
  readonly #own: readonly LayerRouting[];
  #now: readonly RoutingNumbers[];
  #shown: readonly RoutingNumbers[] | undefined;
  #key = "";

  constructor(plan: ModelPlan) {
    this.#own = moeLayers(plan).map(({ moe, ...place }) => describe(moe, place));
    this.#now = this.#own.map(({ own }) => own);
  }

  /** Of each site, in the order they run. */
  get layers(): readonly LayerRouting[] {
    return this.#own.map((site, s) => ({ ...site, numbers: this.#now[s] as RoutingNumbers }));
  }

  /** Equal keys, equal numbers; empty for the model's own. */
  get key(): string {
    return this.#key;
  }

  /** Most experts of a token at a site. */
  k(site: number): number {
    return this.#now[site]?.k ?? 0;
  }

  /**
   * From the next token on.
   * @throws SluiceError `bad-request` with the numbers that are allowed; nothing is changed then
   */
  change({ numbers, layers }: RoutingChange): void {
    if (layers) for (const layer of layers) this.#require(layer);
    this.#now = this.#own.map((site, s) => {
      if (layers && !layers.includes(site.layer)) return this.#now[s] as RoutingNumbers;
      return numbers ? { ...(this.#now[s] as RoutingNumbers), ...checked(numbers, site) } : site.own;
    });
    if (this.#own.length === 0 && numbers) throw noRouters();
    const own = this.#own.map((site) => site.own);
    const key = JSON.stringify(
      this.#now.map(({ k, p, threshold, temperature }) => [k, p, threshold, temperature]),
    );
    this.#key = this.#now.every((now, s) => isSame(now, own[s] as RoutingNumbers)) ? "" : key;
  }

  /** Tells the GPU what it has not been told. @returns whether there was anything */
  show(heads: RowHeads): boolean {
    if (this.#shown === this.#now) return false;
    for (const [site, numbers] of this.#now.entries()) {
      const before = this.#shown?.[site];
      if (!before || !isSame(before, numbers)) heads.showHead(site, rowHead(site, numbers));
    }
    this.#shown = this.#now;
    return true;
  }

  #require(layer: number): void {
    if (this.#own.some((site) => site.layer === layer)) return;
    const those = this.#own.map((site) => site.layer).join(", ");
    throw new SluiceError("bad-request", `layer ${layer} routes nothing`, {
      remedy: those === "" ? "This model has no experts." : `Use layers of these: ${those}.`,
      details: { layer },
    });
  }
}

function isSame(a: RoutingNumbers, b: RoutingNumbers): boolean {
  return a.k === b.k && a.p === b.p && a.threshold === b.threshold && a.temperature === b.temperature;
}

function describe(site: MoeSpec, { layer, block }: SitePlace): LayerRouting {
  const { input, selection, logits, weights } = site.router;
  const most = maxRoutes(site.router, site.experts);
  const own = {
    k: "k" in selection ? selection.k : most,
    p: selection.rule === "top-p" ? Math.min(1, selection.p) : 1,
    threshold: selection.rule === "threshold" ? selection.threshold : 0,
    temperature: logits.temperature ?? 1,
  };
  // Shares are of what sums to one, and where some experts count for nothing the shares of the others are not known.
  const hasShares = logits.gate === "softmax" && !weights.dropsZeros;
  const ranges = {
    k: { least: 1, most },
    ...(hasShares && { p: { above: 0, most: 1 } }),
    ...(!weights.dropsZeros && { threshold: { least: 0, below: 1 } }),
    // What trees give are weights, which sum to 1.
    ...(logits.gate !== "tree" && {
      temperature: { least: 1 / EXTREME_TEMPERATURE, most: EXTREME_TEMPERATURE },
    }),
  };
  const isDecided = input === "given" || input === "draw";
  return {
    ...{ layer, block },
    experts: site.experts,
    rule: selection.rule,
    numbers: own,
    own,
    ranges: isDecided ? {} : ranges,
  };
}

/** Those of `numbers` that are given; the model's own always may be. @throws SluiceError `bad-request` */
function checked(
  numbers: Partial<RoutingNumbers>,
  { layer, ranges, own }: LayerRouting,
): Partial<RoutingNumbers> {
  const given = Object.entries(numbers).filter(([, value]) => value !== undefined);
  for (const [name, value] of given) {
    const range = Object.hasOwn(ranges, name) ? ranges[name as keyof RoutingNumbers] : undefined;
    if (Object.hasOwn(own, name) && value === own[name as keyof RoutingNumbers]) continue;
    if (range && isIn(value, range) && (name !== "k" || Number.isInteger(value))) continue;
    const allowed = range ? tell(name, range) : tellNames(Object.keys(ranges));
    throw new SluiceError("bad-request", `layer ${layer} cannot route with ${name} ${value}`, {
      remedy: allowed,
      details: { layer, [name]: String(value) },
    });
  }
  return Object.fromEntries(given);
}

function isIn(value: unknown, { least, above, most, below }: RoutingRange): boolean {
  return (
    typeof value === "number" &&
    value >= (least ?? Number.NEGATIVE_INFINITY) &&
    value > (above ?? Number.NEGATIVE_INFINITY) &&
    value <= (most ?? Number.POSITIVE_INFINITY) &&
    value < (below ?? Number.POSITIVE_INFINITY)
  );
}

function tell(name: string, { least, above, most, below }: RoutingRange): string {
  const from = least === undefined ? `above ${above}` : `from ${least}`;
  const to = most === undefined ? `below ${below}` : `to ${most}`;
  return `Use a ${name === "k" ? "whole " : ""}number ${from} ${to} for ${name}.`;
}

function tellNames(names: readonly string[]): string {
  if (names.length === 0) return "Its experts are named by the request, or drawn: nothing can be set here.";
  return `What can be set here: ${names.join(", ")}.`;
}

function noRouters(): SluiceError {
  return new SluiceError("bad-request", "this model has no router with numbers to set", {
    remedy: "Set routing of models whose `routing.get` lists layers.",
  });
}
