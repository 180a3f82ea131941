import type { SiteRoute } from "./predictor/predictor.ts";

/** Words of a Route of the GPU: expert, slot, weight. */
const WORDS = 3;
/** The expert of a row that a token does not use; the rows behind are unused too. */
const NOBODY = 0xffffffff;

const anyExpert = (_expert: number): boolean => true;

/** The routes that one replay left behind, read back. */
export class RouteRows {
  readonly tokens: number;
  readonly #words: Uint32Array;
  readonly #siteWords: number;
  readonly #topK: readonly number[];

  /**
   * @param words the rows of each site, `siteWords` words apart: [tokens, topK] Route
   * @param topK most routes of a token, of each site
   */
  constructor(words: Uint32Array, siteWords: number, topK: readonly number[], tokens: number) {
    this.#words = words;
    this.#siteWords = siteWords;
    this.#topK = topK;
    this.tokens = tokens;
  }

  /** One token's experts, best first. */
  route(site: number, token: number): SiteRoute {
    const k = this.#topK[site] ?? 0;
    const start = site * this.#siteWords + token * k * WORDS;
    const rows = Array.from({ length: k }, (_, i) => this.#words[start + i * WORDS] as number);
    const count = rows.indexOf(NOBODY);
    return count === -1 ? rows : rows.slice(0, count);
  }

  /** One token's route at each of the first `sites` sites. */
  routes(token: number, sites = this.#topK.length): SiteRoute[] {
    return Array.from({ length: sites }, (_, site) => this.route(site, token));
  }

  /** Routes of all tokens together. @param hasPage which of them count */
  count(site: number, hasPage = anyExpert): number {
    return this.#all(site).filter(hasPage).length;
  }

  /** Every expert that any token needs, each once. @param hasPage which of them count */
  needed(site: number, hasPage = anyExpert): number[] {
    return [...new Set(this.#all(site))].filter(hasPage);
  }

  #all(site: number): number[] {
    return Array.from({ length: this.tokens }, (_, token) => this.route(site, token)).flat();
  }
}
