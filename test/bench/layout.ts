import type { PolicyFactory } from "../../src/experts/policy/policy.ts";
import { type ReplayOptions, replay } from "../../src/experts/replay.ts";
import type { Trace } from "../../src/experts/trace.ts";

/** [site][set]: the experts one stop waited for or one look ahead asked for, in the order of time. */
export function loadedTogether(trace: Trace, options: ReplayOptions): number[][][] {
  const bySite: number[][][] = [];
  const policy: PolicyFactory = (site) => {
    const inner = options.policy(site);
    const sets: number[][] = [[]];
    bySite.push(sets);
    return {
      // This and `expect` come before the loads they cause.
      used: (expert, token) => {
        sets.push([]);
        inner.used(expert, token);
      },
      expect: (guesses) => {
        sets.push([]);
        inner.expect?.(guesses);
      },
      loaded: (expert, early) => {
        sets.at(-1)?.push(expert);
        inner.loaded?.(expert, early);
      },
      evicted: (expert) => inner.evicted?.(expert),
      value: (expert, token) => inner.value(expert, token),
    };
  };
  replay(trace, { ...options, policy });
  return bySite.map((sets) => sets.filter(({ length }) => length > 0));
}

/** From expert 0 on, the next is whoever is most often in a set with the last, of equals the lowest; without sets, 0, 1, 2 … */
export function orderTogether(experts: number, sets: readonly (readonly number[])[]): number[] {
  const left = Array.from({ length: experts }, (_, expert) => expert);
  const order = left.splice(0, 1);
  while (left.length > 0) {
    const withLast = sets.filter((set) => set.includes(order.at(-1) ?? -1)).flat();
    const counts = left.map((expert) => withLast.filter((other) => other === expert).length);
    order.push(...left.splice(counts.indexOf(Math.max(...counts)), 1));
  }
  return order;
}

/** Reads that bring each set: one for neighbours in the order, and nothing is read that is not wanted. */
export function countReads(sets: readonly (readonly number[])[], order: readonly number[]): number {
  const next = new Map(order.map((expert, i) => [expert, order[i + 1] ?? -1]));
  return sets.flatMap((set) => set.filter((expert) => !set.includes(next.get(expert) ?? -1))).length;
}
