import type { SiteRoute } from "../experts/predictor/predictor.ts";
import type { Program } from "./forward.ts";

/**
 * What is known of one run's routes before their sites' turns: what the request says, and what the program resolved early
 * and was read back. Such a site is not looked at, it is waited for.
 */
export class Foresight {
  readonly #program: Program;
  /** Of each site, the experts that the run needs; undefined where that is not known. */
  readonly #needed: (SiteRoute | undefined)[];
  /** The last site whose experts were brought to it. */
  #reached = -1;

  constructor(program: Program, needed: readonly (SiteRoute | undefined)[]) {
    this.#program = program;
    this.#needed = [...needed];
  }

  knows(site: number): boolean {
    return this.#needed[site] !== undefined;
  }

  /** Its experts are waited for, or were brought to it: the program cannot miss any. */
  isReached(site: number): boolean {
    return this.knows(site) || site <= this.#reached;
  }

  /** Sites past those that were reached whose experts are known. */
  get ahead(): { readonly site: number; readonly experts: SiteRoute }[] {
    return this.#needed.flatMap((experts, site) =>
      experts && site > this.#reached ? [{ site, experts }] : [],
    );
  }

  reach(site: number): void {
    this.#reached = site;
  }

  /** The first step from `first` on at which the program may stop; undefined if it runs to its end. */
  nextLook(first: number): number | undefined {
    const looks = this.#program.sites.flatMap(({ early, route }, site) =>
      this.isReached(site) ? [] : [early ?? route, route],
    );
    const after = looks.filter((at) => at >= first);
    return after.length > 0 ? Math.min(...after) : undefined;
  }

  /**
   * Takes up the routes that were resolved before their site's turn, where the program ran as far as step `last`.
   * Those that follow it at once were resolved too, as long as they are before step `end`.
   * @param needed experts of a site, by what was read back
   * @returns the step behind all of them
   */
  learn(needed: (site: number) => SiteRoute, last: number, end: number): number {
    const { sites } = this.#program;
    const earlies = new Set(sites.map(({ early }) => early));
    let behind = last + 1;
    while (behind < end && earlies.has(behind)) behind++;
    for (const [site, { early, route }] of sites.entries()) {
      if (early !== undefined && early < behind && route >= behind && !this.knows(site)) {
        this.#needed[site] = needed(site);
      }
    }
    return behind;
  }
}
