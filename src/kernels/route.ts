import gateRelu from "../../shaders/lib/gate_relu.wgsl?raw";
import gateSigmoid from "../../shaders/lib/gate_sigmoid.wgsl?raw";
import gateSoftmax from "../../shaders/lib/gate_softmax.wgsl?raw";
import gateSqrtSoftplus from "../../shaders/lib/gate_sqrt_softplus.wgsl?raw";
import isNumber from "../../shaders/lib/is_number.wgsl?raw";
import logitsDeviation from "../../shaders/lib/logits_deviation.wgsl?raw";
import logitsPlain from "../../shaders/lib/logits_plain.wgsl?raw";
import logitsPointwise from "../../shaders/lib/logits_pointwise.wgsl?raw";
import routeSet from "../../shaders/lib/route_set.wgsl?raw";
import weightOne from "../../shaders/lib/weight_one.wgsl?raw";
import weightOneOverShare from "../../shaders/lib/weight_one_over_share.wgsl?raw";
import weightScore from "../../shaders/lib/weight_score.wgsl?raw";
import source from "../../shaders/route.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { BoundBuffer } from "../gpu/pipelines.ts";
import type { Step } from "../gpu/program.ts";
import { activationCode, type Pointwise } from "./activation.ts";
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

const gates = {
  softmax: gateSoftmax,
  sigmoid: gateSigmoid,
  "sqrt-softplus": gateSqrtSoftplus,
  relu: gateRelu,
};

/** How a logit becomes an expert's score. */
export type Gate = keyof typeof gates;

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

/** The numbers of a rule that may change from one submit to the next, without another pipeline. */
export interface RouteNumbers {
  /** Experts per token, at most `RouteArgs.topK`. */
  readonly k: number;
  /** As few of them as have more than this share of all scores: a sum that only equals it takes another. From 1 on, all. */
  readonly p?: number | undefined;
  /** Of them those that score this or more, or none. */
  readonly threshold?: number | undefined;
  /** Divides the logits where scores are made of them. */
  readonly temperature?: number | undefined;
}

/** Above any sum of scores. */
const NO_LIMIT = 1e30;
/** Words of a row of the page table before its slots. */
export const ROW_HEAD_WORDS = 5;

/** The head of a site's row of the page table. */
export function rowHead(site: number, numbers: RouteNumbers): Uint32Array<ArrayBuffer> {
  const { k, p = 1, threshold = 0, temperature = 1 } = numbers;
  // No sum of shares is above 1, though the roundings of many may come out there.
  const floats = Float32Array.of(p >= 1 ? NO_LIMIT : p, threshold, 1 / temperature);
  return Uint32Array.of(site, k, ...new Uint32Array(floats.buffer));
}

export interface RouteArgs {
  readonly experts: number;
  /** Most experts chosen per token: how many, `pageTable` says. */
  readonly topK: number;
  /** Where all experts are chosen they are not ranked. */
  readonly takesAll?: boolean | undefined;
  /** What becomes of the logits first: f(l) + bias. Its bias lies in the buffer of `selectionBias`, where there are both. */
  readonly shape?: { readonly function: Pointwise; readonly bias?: VectorPiece | undefined } | undefined;
  /** Softmax over all experts unless told. Softmax over the chosen alone is softmax, renormalised. */
  readonly gate?: Gate | undefined;
  /** The gate reads the logits scaled to this standard deviation, of n − 1 degrees. */
  readonly deviation?: number | undefined;
  /** Experts that weigh nothing where they are chosen. Only where weights sum to 1, and the rule is the top k of the logits, without p and threshold. */
  readonly dropped?: readonly ExpertRange[] | undefined;
  /** Absent: all experts take part. */
  readonly groups?: RouteGroups | undefined;
  /** Weights of the chosen sum to 1; else they are the scores. Sums of sigmoids and such count as 2⁻¹⁴ at least. */
  readonly renormalise: boolean;
  /** In place of scores all weights are 1, or one over the share of the experts that is chosen. */
  readonly equal?: "one" | "one-over-share" | undefined;
  readonly weightScale: number;
  /** [experts], added to the scores for the choice only. */
  readonly selectionBias?: VectorPiece | undefined;
  /** [tokens, experts] f32 */
  readonly logits: GPUBuffer;
  /** One site's row of the page table: `rowHead`, then a slot, ABSENT or ELSEWHERE for each expert, u32 */
  readonly pageTable: GPUBufferBinding;
  /** [tokens, topK] Route; those behind a token's count are of expert ABSENT, in slot ABSENT, with weight 0 */
  readonly routes: BoundBuffer;
  /** [tokens] u32 */
  readonly counts: GPUBuffer;
  /** u32: the lowest site that met an absent expert, else DAMAGED or ABSENT */
  readonly fault: GPUBuffer;
}

const equalWeights = { one: weightOne, "one-over-share": weightOneOverShare } as const;

/** RouteSet of each token: experts, best first, weights, slots. */
export function route(gpu: Gpu, args: RouteArgs): Step {
  const { lanes, snippet, enable } = reduction(gpu, 32);
  const { logits, pageTable, routes, counts, fault, selectionBias, gate = "softmax", groups, equal } = args;
  const { shape, deviation, dropped = [] } = args;
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
      ...(shape && { SHAPE_BIASED: shape.bias !== undefined, SHAPE_BIAS: shape.bias?.base ?? 0 }),
      ...(deviation !== undefined && { DEVIATION: { f32: deviation } }),
      TAKES_ALL: args.takesAll ?? false,
    },
    snippets: [
      ...[snippet, gates[gate], isNumber, routeSet, rangesCode("is_dropped", dropped)],
      ...(shape ? [logitsPointwise, ...activationCode({ activation: shape.function }).snippets] : []),
      ...(shape ? [] : [deviation === undefined ? logitsPlain : logitsDeviation]),
      equal ? equalWeights[equal] : weightScore,
    ],
    buffers: {
      ...{ logits, page_table: pageTable, routes, counts, fault },
      bias: (selectionBias ?? shape?.bias)?.buffer ?? logits,
    },
    grid: (tokens) => [1, tokens],
  });
}
