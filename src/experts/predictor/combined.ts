import type { Guess } from "../policy/policy.ts";
import type { Predictor } from "./predictor.ts";

/** What either predictor expects, by the surer of the two. */
export function combined(one: Predictor, other: Predictor): Predictor {
  return {
    start: (token) => merge(one.start(token), other.start(token)),
    fault: (token) => merge(one.fault(token), other.fault(token)),
    learn: (token) => {
      one.learn(token);
      other.learn(token);
    },
    save: () => ({ ...one.save?.(), ...other.save?.() }),
  };
}

function merge(a: readonly Guess[], b: readonly Guess[]): Guess[] {
  const best = new Map<string, Guess>();
  for (const guess of [...a, ...b]) {
    const key = `${guess.token}/${guess.site}/${guess.expert}`;
    const other = best.get(key);
    if (other === undefined || guess.score > other.score) best.set(key, guess);
  }
  return [...best.values()];
}
