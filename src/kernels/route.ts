import gateSigmoid from "../../shaders/lib/gate_sigmoid.wgsl?raw";
import gateSoftmax from "../../shaders/lib/gate_softmax.wgsl?raw";
import gateSqrtSoftplus from "../../shaders/lib/gate_sqrt_softplus.wgsl?raw";
import isNumber from "../../shaders/lib/is_number.wgsl?raw";
import keptThreshold from "../../shaders/lib/kept_threshold.wgsl?raw";
import keptTopP from "../../shaders/lib/kept_top_p.wgsl?raw";
import logitsDeviation from "../../shaders/lib/logits_deviation.wgsl?raw";
import logitsPlain from "../../shaders/lib/logits_plain.wgsl?raw";
import routeSet from "../../shaders/lib/route_set.wgsl?raw";
import selectTopK from "../../shaders/lib/select_top_k.wgsl?raw";
import selectWhile from "../../shaders/lib/select_while.wgsl?raw";
import source from "../../shaders/route.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { BoundBuffer } from "../gpu/pipelines.ts";
import type { Step } from "../gpu/program.ts";
import { type ExpertRange, rangesCode } from "./pageless.ts";
import type { VectorPiece } from "./rmsnorm.ts";
import { makeStep, reduction } from "./step.ts";

/** u32 in a page table for an expert that has no slot; also the fault word when there is no fault. */
export const ABSENT = 0xffffffff;
/** The fault word when a router logit was not a number and no expert was missing. */
export const DAMAGED = 0xfffffffe;
/** u32 in a page table for an expert that another wave computes: no fault, and no kernel finds its slot. */
export const ELSEWHERE = 0xfffffffd;
/** Bytes of a Route: expert, slot, weight. */
export const ROUTE_BYTES = 12;

/** How a logit becomes an expert's score. */
export type Gate = "softmax" | "sigmoid" | "sqrt-softplus";

/** Experts in `count` groups of equal size, of which only the best `used` take part. */
export interface RouteGroups {
  /** A divisor of the experts. */
  readonly count: number;
  readonly used: number;
  /**
   * What a group is chosen by: the score of its best expert (`group_limited_greedy` of DeepSeek-V2), or the sum of its
   * two best (DeepSeek-V3, and llama.cpp's `build_moe_ffn` for every model with groups), biases included.
   */
  readonly by: "best" | "best-two";
}

/** How many of the best `topK` experts a token has. */
export type RouteLimit =
  /** As few as have a sum of scores above `least`: one that only equals it takes another. */
  | { readonly rule: "top-p"; readonly least: number }
  /** Those that score `least` or more, or none. */
  | { readonly rule: "threshold"; readonly least: number };

export interface RouteArgs {
  readonly experts: number;
  /** Experts chosen per token, or where there is a limit, the most. */
  readonly topK: number;
  readonly limit?: RouteLimit | undefined;
  /** Softmax over all experts unless told. Softmax over the chosen alone is softmax, renormalised. */
  readonly gate?: Gate | undefined;
  /** The gate reads the logits scaled to this standard deviation, of n − 1 degrees. */
  readonly deviation?: number | undefined;
  /** Experts that weigh nothing where they are chosen. Only where weights sum to 1, and the rule is the top k of the logits. */
  readonly dropped?: readonly ExpertRange[] | undefined;
  /** Absent: all experts take part. */
  readonly groups?: RouteGroups | undefined;
  /** Weights of the chosen sum to 1; else they are the scores. Sums of sigmoids and such count as 2⁻¹⁴ at least. */
  readonly renormalise: boolean;
  readonly weightScale: number;
  /** [experts], added to the scores for the choice only. */
  readonly selectionBias?: VectorPiece | undefined;
  /** [tokens, experts] f32 */
  readonly logits: GPUBuffer;
  /** One site's row of the page table: the site's index, then a slot, ABSENT or ELSEWHERE for each expert, u32 */
  readonly pageTable: GPUBufferBinding;
  /** [tokens, topK] Route; those behind a token's count are of expert ABSENT, in slot ABSENT, with weight 0 */
  readonly routes: BoundBuffer;
  /** [tokens] u32 */
  readonly counts: GPUBuffer;
  /** u32: the lowest site that met an absent expert, else DAMAGED or ABSENT */
  readonly fault: GPUBuffer;
}

const gates: Record<Gate, string> = {
  softmax: gateSoftmax,
  sigmoid: gateSigmoid,
  "sqrt-softplus": gateSqrtSoftplus,
};

const kept: Record<RouteLimit["rule"], string> = { "top-p": keptTopP, threshold: keptThreshold };

/** RouteSet of each token: experts, best first, weights, slots. */
export function route(gpu: Gpu, args: RouteArgs): Step {
  const { lanes, snippet, enable } = reduction(gpu, 32);
  const { logits, pageTable, routes, counts, fault, selectionBias, gate = "softmax", groups, limit } = args;
  const { deviation, dropped = [] } = args;
  return makeStep(gpu, {
    label: "route",
    source,
    enable,
    constants: {
      LANES: lanes,
      SHARED: 1,
      EXPERTS: args.experts,
      ROUTES: args.topK,
      GROUPS: groups?.count ?? 1,
      GROUPS_USED: groups?.used ?? 1,
      BY_TWO: groups?.by === "best-two",
      RENORM: args.renormalise,
      WEIGHT_SCALE: { f32: args.weightScale },
      BIASED: selectionBias !== undefined,
      BIAS: selectionBias?.base ?? 0,
      ...(limit && { LEAST_SHARE: { f32: leastShare(limit) } }),
      ...(deviation !== undefined && { DEVIATION: { f32: deviation } }),
    },
    snippets: [
      ...[snippet, gates[gate], isNumber, routeSet, rangesCode("is_dropped", dropped)],
      deviation === undefined ? logitsPlain : logitsDeviation,
      ...(limit ? [selectWhile, kept[limit.rule]] : [selectTopK]),
    ],
    buffers: { logits, page_table: pageTable, routes, counts, fault, bias: selectionBias?.buffer ?? logits },
    grid: (tokens) => [1, tokens],
  });
}

/** No sum of probabilities is above 1, though the roundings of many may come out there. */
function leastShare({ rule, least }: RouteLimit): number {
  return rule === "top-p" && least >= 1 ? 2 : least;
}
