import type { TraceToken } from "./trace.ts";

/**
 * The fewest loads any cache of `slots` slots can do with one site of a trace (Belady 1966): after each token what is
 * needed again soonest is kept. What a token needs stays while it runs; where that is more than the slots (waves), any
 * of it may stay.
 */
export function beladyLoads(tokens: readonly TraceToken[], site: number, slots: number): number {
  const uses = new Map<number, number[]>();
  tokens.forEach(({ routes }, t) => {
    for (const expert of routes[site] ?? []) {
      const times = uses.get(expert);
      if (times === undefined) uses.set(expert, [t]);
      else times.push(t);
    }
  });
  for (const times of uses.values()) times.reverse();
  let loads = 0;
  let resident = new Set<number>();
  for (const { routes } of tokens) {
    const needed = new Set(routes[site]);
    for (const expert of needed) {
      uses.get(expert)?.pop();
      if (!resident.has(expert)) loads++;
    }
    const nextUse = (expert: number): number => uses.get(expert)?.at(-1) ?? Number.POSITIVE_INFINITY;
    const rank = (expert: number): number =>
      needed.has(expert) && needed.size <= slots ? -1 : nextUse(expert);
    const all = [...new Set([...resident, ...needed])];
    resident = new Set(all.sort((a, b) => compare(rank(a), rank(b))).slice(0, slots));
  }
  return loads;
}

const compare = (a: number, b: number): number => (a === b ? 0 : a < b ? -1 : 1);
