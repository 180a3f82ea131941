import type { Activation, Pointwise } from "../kernels/activation.ts";
import type { Gate } from "../kernels/route.ts";
import type { TensorInfo } from "../source/model_file.ts";
import type { Block, Linear, NormSpec } from "./plan.ts";

/** A matrix of every expert, stacked: [experts, out, in]; scale and bias have a row per expert. */
export type ExpertLinear = Linear;

export type ExpertSpec =
  | {
      readonly kind: "gated";
      readonly activation: Activation;
      readonly gate: ExpertLinear;
      readonly up: ExpertLinear;
      readonly down: ExpertLinear;
    }
  | {
      readonly kind: "two-matrix";
      readonly activation: Pointwise;
      readonly up: ExpertLinear;
      readonly down: ExpertLinear;
    }
  /** 0, or what it reads. */
  | { readonly kind: "zero" | "copy" }
  /** a · x + b · vector, [a, b] = softmax(gate · x): vector [width], gate [2, width]. Such a table entry is of one expert. */
  | { readonly kind: "constant"; readonly vector: TensorInfo; readonly gate: Linear }
  | { readonly kind: "scale-vector"; readonly vector: TensorInfo }
  | {
      readonly kind: "low-rank" | "adapter";
      readonly down: ExpertLinear;
      readonly up: ExpertLinear;
      readonly scale: number;
    }
  | { readonly kind: "dense-slice"; readonly rows: readonly [first: number, end: number] }
  | { readonly kind: "attention"; readonly q: ExpertLinear; readonly output: ExpertLinear };

/** Experts `first` to `first + count − 1` of a site are of one kind. */
export interface ExpertTable {
  readonly first: number;
  readonly count: number;
  readonly spec: ExpertSpec;
}

export interface MoeSpec {
  readonly experts: number;
  readonly router: RouterSpec;
  /** [width], added to what the chosen experts give together; times the weights' scale, as they are. */
  readonly bias?: TensorInfo | undefined;
  /** Multiplies what experts of every kind read. The router reads it as it is. */
  readonly inputScale?: number | undefined;
  readonly table: readonly ExpertTable[];
}

/** A cell whose state a token carries from site to site; at its first site the state is 0. */
export interface RecurrentCell {
  /** A gated recurrent unit as torch.nn.GRUCell has it, or tanh of the sum. */
  readonly kind: "gru" | "tanh";
  /** [size, size] each: of a GRU for r, z and n, else one. */
  readonly input: readonly Linear[];
  readonly state: readonly Linear[];
}

/** What a router makes of the tokens before the first layer: a small decoder, with a residual stream of its own. */
export interface TokenReader {
  /** [vocabulary, size] */
  readonly table: Linear;
  /** Of width `size`, none of them with experts. */
  readonly blocks: readonly Block[];
  /** Behind them. */
  readonly norm?: NormSpec | undefined;
}

/** Binary trees of smooth steps, one leaf for each expert (COMET, Ibrahim et al. 2023); see `tree_gate`. */
export interface TreeSpec {
  readonly count: number;
  /** How wide the step is. */
  readonly gamma: number;
  /** [count, experts, experts]: which expert a leaf is, as a matrix for each tree. Absent: leaf j is expert j. */
  readonly permutations?: TensorInfo | undefined;
}

/** factor · e^temperature · cos(z, centroid), of each expert. */
export interface CosineSpec {
  /** [experts, length of z] */
  readonly centroids: TensorInfo;
  readonly factor: number;
  /** [1]; no more than `most` counts of it. */
  readonly temperature?: { readonly tensor: TensorInfo; readonly most?: number | undefined } | undefined;
  /** Lengths below this count as this. */
  readonly least: number;
}

/** Where gate logits come from and how they become a RouteSet. */
export interface RouterSpec {
  readonly input: /** What the experts read. */
    | "block"
    /** The residual stream as it is before the attention of its layer, without a norm. */
    | "before-attention"
    /** What the experts read, which stand beside the attention of their layer: known before it runs. */
    | "beside-attention"
    /** What the experts of the site before read. */
    | "previous-layer"
    /** The tokens alone, see `reader`: one router and one route for all such sites. */
    | "token"
    /** What the experts read, and the task that the request names, see `tasks`. */
    | "task"
    /** Nothing: the request names the experts of each layer. */
    | "given"
    /** Nothing: one expert is drawn from the request's seed, see `draws`. */
    | "draw"
    | "text-token";
  /** Of input `token`; absent: the model's own embedding is what it reads. */
  readonly reader?: TokenReader | undefined;
  /** Of input `task`: a matrix of logits for each task; or one for all, which reads the task's `embedding` [tasks, size] too. */
  readonly tasks?: { readonly count: number; readonly embedding?: TensorInfo | undefined } | undefined;
  /** Of input `draw`: anew for each token, or once for the whole sequence. */
  readonly draws?: "token" | "sequence" | undefined;
  readonly logits: {
    /**
     * Applied in order: two with a function between; without one, one matrix, or several whose rows are stacked; none
     * where nothing is read.
     */
    readonly layers: readonly Linear[];
    readonly between?: Pointwise | RecurrentCell | undefined;
    /** Applied behind them: how near it lies to each expert. */
    readonly cosine?: CosineSpec | undefined;
    readonly gate: Gate | "tree";
    /** Of gate `tree`, whose layers are those of the inner nodes and of the leaves. */
    readonly tree?: TreeSpec | undefined;
    /** What becomes of the logits before the gate: f(l) + bias, bias [experts]. */
    readonly shape?: { readonly function: Pointwise; readonly bias?: TensorInfo | undefined } | undefined;
    /** Divides the logits. */
    readonly temperature?: number | undefined;
    /** [experts, experts of the site before] · the logits of the site before, added. The first site has none. */
    readonly previous?: Linear | undefined;
    /** What the gate reads of them has this standard deviation (of n − 1 degrees); what is carried on does not. */
    readonly deviation?: number | undefined;
    /** [experts], added to what the gate gives, for the selection only. */
    readonly selectionBias?: TensorInfo | undefined;
  };
  readonly selection:
    | {
        readonly rule: "top-k";
        readonly k: number;
        /** Most that a token may have, where the family says that any k is legal. */
        readonly kMax?: number | undefined;
      }
    | { readonly rule: "top-p"; readonly p: number; readonly kMax: number }
    | { readonly rule: "threshold"; readonly threshold: number; readonly kMax: number }
    | {
        readonly rule: "group-limited";
        readonly k: number;
        readonly groups: number;
        readonly groupsUsed: number;
        /** A group is as good as its best expert, or as its best two together. */
        readonly by: "best" | "best-two";
      }
    | {
        readonly rule:
          | "all"
          /** Each expert takes the tokens that it is best for. */
          | "expert-choice"
          /** The same experts for all tokens, by the whole sequence (Union of Experts). */
          | "whole-sequence";
      };
  readonly weights: {
    /** One over the share of the experts that is chosen: N / k. */
    readonly rule: "renormalise" | "raw" | "one" | "one-over-share";
    readonly scale: number;
    /** Multiplies an expert's input rather than what it gives. */
    readonly first?: boolean | undefined;
    /** Zero experts weigh nothing, and the others are renormalised without them. */
    readonly dropsZeros?: boolean | undefined;
  };
  /** What one token carries from site to site. */
  readonly state?: "previous-logits" | "hidden" | undefined;
}

/** Most routes a token can have under a selection rule. */
export function maxRoutes({ selection }: RouterSpec, experts: number): number {
  if (selection.rule === "top-k") return selection.kMax ?? selection.k;
  if (selection.rule === "group-limited") return selection.k;
  if (selection.rule === "top-p" || selection.rule === "threshold") return selection.kMax;
  return experts;
}

/** The cell of a site's router; none in most. */
export function cellOf({ router }: MoeSpec): RecurrentCell[] {
  const { between } = router.logits;
  return typeof between === "object" ? [between] : [];
}

/** Elements of its state. */
export function cellSize({ state }: RecurrentCell): number {
  return state[0]?.weight.shape.at(-1) ?? 0;
}

/** Matrices in the page of an expert, in the order they are used; an expert without any has no page. */
export function expertLinears(spec: ExpertSpec): ExpertLinear[] {
  if (spec.kind === "gated") return [spec.gate, spec.up, spec.down];
  if (spec.kind === "attention") return [spec.q, spec.output];
  return spec.kind === "two-matrix" ? [spec.up, spec.down] : [];
}

/** The entries of a site's table whose experts have pages. */
export function pagedTable({ table }: MoeSpec): ExpertTable[] {
  return table.filter(({ spec }) => expertLinears(spec).length > 0);
}

/** Experts of the kind `constant`, in the order of the table, with their ids. */
export function constantExperts({ table }: MoeSpec) {
  return table.flatMap(({ first, spec }) => (spec.kind === "constant" ? [{ ...spec, expert: first }] : []));
}
