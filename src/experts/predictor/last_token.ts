import type { Guess } from "../policy/policy.ts";
import { Calibration } from "./calibration.ts";
import type { Predictor, PredictorModel, PredictorState, SiteRoute } from "./predictor.ts";

/** The experts of the token before; how often a site repeats one, by rank, is learned. */
export function lastToken(_model: PredictorModel, saved: PredictorState = {}): Predictor {
  const calibration = new Calibration(saved["last-token"]);
  let last: readonly SiteRoute[] = [];
  const kindOf = (site: number, rank: number): number => site * 1024 + rank;
  const guess = (token: number, from: number): Guess[] =>
    last.flatMap((route, site) =>
      site < from
        ? []
        : route.map((expert, rank) => ({
            site,
            expert,
            token,
            score: calibration.chance(kindOf(site, rank)),
          })),
    );
  return {
    start: ({ token }) => guess(token, 0),
    fault: ({ token, site }) => guess(token, site + 1),
    learn: ({ routes }) => {
      last.forEach((route, site) => {
        route.forEach((expert, rank) => {
          calibration.note(kindOf(site, rank), routes[site]?.includes(expert) ?? false);
        });
      });
      last = routes;
    },
    save: () => ({ "last-token": calibration.save() }),
  };
}
