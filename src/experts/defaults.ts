import type { CapacityPlan } from "../api.ts";
import type { PolicyName } from "./policy/index.ts";
import type { PredictorName } from "./predictor/index.ts";

export interface ExpertDefaults {
  readonly policy: PolicyName;
  readonly predictor: PredictorName;
  readonly capacity: CapacityPlan;
  /** Sites beyond the one in hand whose routers are asked early. */
  readonly lookahead: number;
}

/**
 * What `npm run replay` says, of recorded routes of a 16-expert model and of synthetic ones with 128 experts, at 25 % and
 * 50 % of the slots. Beside the best policy on demand, next-gate with path loads 1.11 to 1.14 times the bytes and waits
 * for 0.47 to 0.48 of them (recorded) or 0.56 to 0.63 (synthetic). Next-gate alone waits for a fifth more on the recorded
 * routes, whose second site does not resemble the first, and path alone for more still; last-token adds nothing, because
 * what the last token used is resident. With these, `farthest` loads the fewest bytes and waits least, to a percent. Even
 * shares beat shallow-first, which leaves a deep site one slot, and shares by measured use are no better. A lookahead of
 * 3 waits for 5 % less than one of 1; more adds nothing.
 */
export const DEFAULTS: ExpertDefaults = {
  policy: "farthest",
  predictor: "next-gate+path",
  capacity: "even",
  lookahead: 3,
};
