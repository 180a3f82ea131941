import type { CapacityPlan } from "./capacity.ts";
import type { PolicyName } from "./policy/index.ts";
import type { PredictorName } from "./predictor/index.ts";

export interface ExpertDefaults {
  readonly policy: PolicyName;
  readonly predictor: PredictorName;
  readonly capacity: CapacityPlan;
  /** Sites beyond the one in hand whose routers are asked early. */
  readonly lookahead: number;
}

export const DEFAULTS: ExpertDefaults = {
  policy: "farthest",
  predictor: "next-gate+path",
  capacity: "even",
  lookahead: 3,
};
