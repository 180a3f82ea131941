import type { Pointwise } from "../../kernels/activation.ts";
import type { Gate } from "../../kernels/route.ts";
import type { RouterSpec } from "../moe_plan.ts";
import type { FileReader } from "./reader.ts";
import { LEAST_SCORE } from "./route_source.ts";

const GATES: readonly Gate[] = ["softmax", "sigmoid", "sqrt-softplus", "relu"];
const FUNCTIONS: readonly Pointwise[] = [
  "sigmoid",
  "tanh",
  "silu",
  "relu",
  "relu-squared",
  "gelu",
  "gelu-erf",
];
const WEIGHTS: readonly RouterSpec["weights"]["rule"][] = ["renormalise", "raw", "one", "one-over-share"];

/**
 * The router as its family has it, with what the file says otherwise: `router.gate`, `router.rule`, its `router.top_p` or
 * `router.threshold` (without one, all experts that score above 0), `router.any_k`, `router.weights`, `router.function`
 * (which comes between the matrix and its bias) and `router.temperature`. No GGUF file has these keys: they are for what
 * papers make of a family. SMoE-Dropout, EvoMoE, FactorLLM, dense-to-sparse gates, ReMoE.
 */
export function withRule(reader: FileReader, router: RouterSpec, experts: number): RouterSpec {
  const gate = oneOf(reader, "router.gate", GATES);
  const weights = oneOf(reader, "router.weights", WEIGHTS);
  const temperature = reader.factor("router.temperature");
  if (router.logits.layers.length === 0 && (gate || temperature !== 1)) {
    throw reader.unsupported(`router.gate or router.temperature beside experts ${router.input}`);
  }
  return {
    ...router,
    logits: {
      ...withFunction(reader, router.logits),
      ...(gate && { gate }),
      ...(temperature !== 1 && { temperature }),
    },
    selection: selectionOf(reader, router, experts),
    weights: weights ? { ...router.weights, rule: weights } : router.weights,
  };
}

function withFunction(reader: FileReader, logits: RouterSpec["logits"]): RouterSpec["logits"] {
  const of = oneOf(reader, "router.function", FUNCTIONS);
  const [only, ...others] = logits.layers;
  if (!of) return logits;
  if (!only || others.length > 0)
    throw reader.unsupported(`router.function ${of} of several matrices`, { of });
  const { bias, ...matrix } = only;
  return { ...logits, layers: [matrix], shape: { function: of, bias } };
}

function selectionOf(
  reader: FileReader,
  { input, selection }: RouterSpec,
  experts: number,
): RouterSpec["selection"] {
  const rule = reader.text("router.rule");
  const isFree = reader.flag("router.any_k", false);
  if (rule === undefined && !isFree) return selection;
  if (input === "given" || input === "draw") throw reader.unsupported(`router.rule beside experts ${input}`);
  switch (rule) {
    case undefined:
    case "top-k":
      if (selection.rule !== "top-k") throw reader.unsupported(`router.rule top-k beside ${selection.rule}`);
      return isFree ? { ...selection, kMax: experts } : selection;
    case "top-p":
      return { rule, p: reader.number("router.top_p"), kMax: experts };
    case "threshold":
      return { rule, threshold: reader.number("router.threshold", LEAST_SCORE), kMax: experts };
    case "all":
    case "expert-choice":
    case "whole-sequence":
      return { rule };
    default:
      throw reader.unsupported(`router.rule ${rule}`, { rule });
  }
}

function oneOf<Name extends string>(
  reader: FileReader,
  key: string,
  names: readonly Name[],
): Name | undefined {
  const given = reader.text(key);
  const name = names.find((candidate) => candidate === given);
  if (given === undefined || name !== undefined) return name;
  throw reader.unsupported(`${key} ${given}`, { [key]: given });
}
