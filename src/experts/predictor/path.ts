import type { Guess } from "../policy/policy.ts";
import { Calibration } from "./calibration.ts";
import type { Predictor, PredictorModel, PredictorState, SiteRoute } from "./predictor.ts";

/** Counts kept over all ids and sites: some megabytes here, about one in the catalogue. */
const MAX_COUNTS = 200_000;
/** An id seen this often has its counts halved, so that what is no longer true fades. */
const MAX_SEEN = 16;
const SHARE_LEVELS = 16;
const SEEN_LEVELS = 4;

/** Where tokens of one id went. */
interface IdPaths {
  seen: number;
  /** Per site: expert → how many of `seen`. */
  counts: Map<number, number>[];
}

/**
 * Path statistics, learned online, after EdgeMoE: single experts are used evenly, whole paths are not. EdgeMoE looks a
 * path up by the experts of the two layers before; here the token's id is the key, since routers mostly go by it
 * (OpenMoE, Xue et al. 2024), it tells the whole path before the token starts, and on recorded routes the experts before
 * add nothing to it.
 */
export function path({ sites }: PredictorModel, saved: PredictorState = {}): Predictor {
  const calibration = new Calibration(saved["path.kinds"]);
  /** The least recently seen id first. */
  const paths = new Map(saved["path.ids"]?.map((row) => idPaths(row, sites.length)));
  const maxIds = Math.max(1, Math.floor(MAX_COUNTS / sites.reduce((sum, { topK }) => sum + 2 * topK, 1)));
  /** What was guessed of the token in hand, and what kind of guess each was. */
  let guesses: Guess[] = [];
  let kinds: number[] = [];

  return {
    start: ({ token, id }) => {
      guesses = [];
      kinds = [];
      const { seen, counts } = paths.get(id) ?? { seen: 0, counts: [] };
      for (const [site, experts] of counts.entries()) {
        for (const [expert, count] of experts) {
          const kind = kindOf(site, count / seen, seen);
          kinds.push(kind);
          guesses.push({ site, expert, token, score: calibration.chance(kind) });
        }
      }
      return guesses;
    },
    fault: ({ site }) => guesses.filter((guess) => guess.site > site),
    learn: ({ id, routes }) => {
      guesses.forEach(({ site, expert }, i) => {
        calibration.note(kinds[i] as number, routes[site]?.includes(expert) ?? false);
      });
      guesses = [];
      if (id < 0) return;
      const known = paths.get(id) ?? { seen: 0, counts: sites.map(() => new Map()) };
      paths.delete(id);
      paths.set(id, follow(known, routes));
      for (const oldest of paths.keys()) {
        if (paths.size <= maxIds) break;
        paths.delete(oldest);
      }
    },
    save: () => ({ "path.kinds": calibration.save(), "path.ids": [...paths].map(rowOf) }),
  };
}

function kindOf(site: number, share: number, seen: number): number {
  const shareLevel = Math.min(SHARE_LEVELS - 1, Math.floor(share * SHARE_LEVELS));
  const seenLevel = Math.min(SEEN_LEVELS - 1, Math.floor(Math.log2(seen)));
  return (site * SHARE_LEVELS + shareLevel) * SEEN_LEVELS + seenLevel;
}

function follow(paths: IdPaths, routes: readonly SiteRoute[]): IdPaths {
  paths.seen++;
  routes.forEach((route, site) => {
    const counts = paths.counts[site];
    for (const expert of route) counts?.set(expert, (counts.get(expert) ?? 0) + 1);
  });
  if (paths.seen < MAX_SEEN) return paths;
  return {
    seen: paths.seen / 2,
    counts: paths.counts.map(
      (counts) => new Map([...counts].filter(([, n]) => n >= 2).map(([expert, n]) => [expert, n / 2])),
    ),
  };
}

/** [id, seen, then site, expert and count of every expert at least half of the tokens went to]. */
function rowOf([id, { seen, counts }]: readonly [number, IdPaths]): number[] {
  const likely = counts.flatMap((experts, site) =>
    [...experts].filter(([, n]) => 2 * n >= seen).flatMap(([expert, n]) => [site, expert, n]),
  );
  return [id, seen, ...likely];
}

function idPaths(row: readonly number[], sites: number): [number, IdPaths] {
  const [id = -1, seen = 0, ...entries] = row;
  const counts = Array.from({ length: sites }, () => new Map<number, number>());
  for (let i = 0; i < entries.length; i += 3) {
    counts[entries[i] as number]?.set(entries[i + 1] as number, entries[i + 2] as number);
  }
  return [id, { seen, counts }];
}
