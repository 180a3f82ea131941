import type { PredictorName } from "../../api.ts";
import { combined } from "./combined.ts";
import { type KnownRoutes, known } from "./known.ts";
import { lastToken } from "./last_token.ts";
import { nextGate } from "./next_gate.ts";
import { none } from "./none.ts";
import { path } from "./path.ts";
import type { Predictor, PredictorModel, PredictorState } from "./predictor.ts";

/** What a predictor starts from. */
export interface PredictorSources {
  readonly model: PredictorModel;
  /** What the same predictor saved in an earlier run of the same model. */
  readonly saved?: PredictorState | undefined;
  /** For `known`: without it nothing is known. */
  readonly known?: KnownRoutes | undefined;
}

export const PREDICTORS = {
  none,
  "last-token": ({ model, saved }) => lastToken(model, saved),
  "next-gate": ({ model, saved }) => nextGate(model, saved),
  path: ({ model, saved }) => path(model, saved),
  "next-gate+path": ({ model, saved }) => combined(nextGate(model, saved), path(model, saved)),
  known: ({ known: routes }) => (routes === undefined ? none() : known(routes)),
} as const satisfies Readonly<Record<PredictorName, (sources: PredictorSources) => Predictor>>;

export type { PredictorName };
