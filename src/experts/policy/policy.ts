/** A claim that `token` will need `expert` at `site`. It moves bytes earlier; it never changes a number. */
export interface Guess {
  readonly site: number;
  readonly expert: number;
  /** Counted as the pool counts tokens; the token in hand or a later one. */
  readonly token: number;
  /** How likely it is, 0 to 1. 1 says that it is known. */
  readonly score: number;
}

/**
 * What keeping each expert of one site is worth. One instance per site: a cache over all sites thrashes as soon as it
 * has fewer slots than one token touches, because tokens walk the sites in a circle.
 */
export interface Policy {
  /** The true route of `token` needs `expert`. Told once per token, before the load it may cause. */
  used(expert: number, token: number): void;
  /** `expert` got a slot, for a route that needed it or (`early`) for a guess. */
  loaded?(expert: number, early: boolean): void;
  /** `expert` lost its slot. */
  evicted?(expert: number): void;
  /** What is now expected of this site, instead of what was expected before. */
  expect?(guesses: readonly Guess[]): void;
  /**
   * About the chance that the next token needs `expert`, whether it has a slot or not. The lowest gives up its slot
   * first. Above 1: no guess that is not certain may replace it.
   */
  value(expert: number, token: number): number;
}

/** What a policy knows of its site. */
export interface PolicySite {
  readonly experts: number;
  readonly slots: number;
  /** Experts a token needs here. */
  readonly topK: number;
  /** How often each expert was needed in earlier runs, in any unit. */
  readonly uses?: readonly number[] | undefined;
}

export type PolicyFactory = (site: PolicySite) => Policy;
