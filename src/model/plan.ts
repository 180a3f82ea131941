import type { TensorInfo } from "../source/model_file.ts";

/**
 * What a model is to the engine. Architecture mappings make one from a file's metadata and tensors; after
 * that no code asks which family it runs. The types can say more than the kernels can run yet:
 * `requireRunnable` turns what is missing into `unsupported-model`.
 */
export interface ModelPlan {
  /** As the file names it, for messages. */
  readonly architecture: string;
  readonly name: string;
  readonly vocabulary: number;
  /** Width of the residual stream. */
  readonly width: number;
  /** Longest sequence the model was made for, in tokens. */
  readonly contextTokens: number;
  readonly embedding: Linear;
  /** Multiplies the embedding. */
  readonly embeddingScale: number;
  /** Multiplies what a block adds to the residual stream. */
  readonly residualScale: number;
  readonly layers: readonly LayerPlan[];
  readonly finalNorm: NormSpec;
  /** Logits; the embedding itself where the file ties them. */
  readonly output: Linear;
  /** Multiplies the logits. */
  readonly outputScale: number;
}

/** Blocks run in order, each reading the residual stream and adding to it. */
export interface LayerPlan {
  readonly blocks: readonly Block[];
}

export type Block = AttentionBlock | RecurrentBlock | FeedForwardBlock;

/** y = (x·Wᵀ) · scale + bias */
export interface Linear {
  /** [out, in] */
  readonly weight: TensorInfo;
  /** [out] */
  readonly bias?: TensorInfo | undefined;
  /** [1] */
  readonly scale?: TensorInfo | undefined;
  /** y = (x·Wᵀ + bias) · scale */
  readonly scalesBias?: boolean | undefined;
}

export interface NormSpec {
  readonly kind: "rms" | "layer";
  readonly weight: TensorInfo;
  readonly bias?: TensorInfo | undefined;
  readonly epsilon: number;
}

export interface RopeSpec {
  /** Leading elements of a head that are rotated. */
  readonly rotary: number;
  /** Pairs are (2i, 2i + 1) rather than (i, i + rotary / 2). */
  readonly interleaved: boolean;
  /** Radians per position for each of the rotary / 2 pairs, scaling applied. */
  readonly frequencies: readonly number[];
  /** [rotary / 2], divides the frequencies; the file's numbers come with its weights. */
  readonly factors?: TensorInfo | undefined;
  /** Multiplies cos and sin. */
  readonly magnitude: number;
}

export interface AttentionBlock {
  readonly kind: "attention";
  readonly norm: NormSpec;
  readonly heads: number;
  readonly kvHeads: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly q: Linear;
  readonly k: Linear;
  readonly v: Linear;
  readonly output: Linear;
  /** RMSNorm before the rotation: over each head, or over all heads together, as the weight is long. */
  readonly qNorm?: NormSpec | undefined;
  readonly kNorm?: NormSpec | undefined;
  /** Absent: no positions. */
  readonly rope?: RopeSpec | undefined;
  /** Multiplies q·k. */
  readonly scale: number;
  /** Tokens a query sees, itself included. Absent: all before it. */
  readonly window?: number | undefined;
  /** One logit per head that takes part in the softmax and adds nothing. */
  readonly sinks?: TensorInfo | undefined;
  /** Multi-head latent attention: ranks of the compressed query and key-value. */
  readonly latent?:
    | { readonly queryRank: number; readonly keyValueRank: number; readonly rope: number }
    | undefined;
}

/** Linear attention, state space or convolution: a state of fixed size instead of a cache. */
export interface RecurrentBlock {
  readonly kind: "recurrent";
  readonly recurrence: "short-convolution" | "gated-delta-net";
  readonly norm: NormSpec;
  readonly tensors: Readonly<Record<string, TensorInfo>>;
  readonly sizes: Readonly<Record<string, number>>;
}

export interface FeedForwardBlock {
  readonly kind: "feed-forward";
  readonly norm: NormSpec;
  /** Always on: a dense layer, shared experts or a residual MLP. */
  readonly base?: { readonly expert: ExpertSpec; readonly gate?: Linear | undefined } | undefined;
  /** Absent: a dense layer. */
  readonly moe?: MoeSpec | undefined;
}

export type Activation = "silu" | "gelu" | "relu" | "relu-squared" | "clamped-swiglu";

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
      readonly activation: Activation;
      readonly up: ExpertLinear;
      readonly down: ExpertLinear;
    }
  | { readonly kind: "zero" | "copy" }
  | { readonly kind: "constant" | "scale-vector"; readonly vector: TensorInfo }
  | {
      readonly kind: "low-rank" | "adapter";
      readonly down: ExpertLinear;
      readonly up: ExpertLinear;
      readonly scale: number;
    }
  | { readonly kind: "dense-slice"; readonly rows: readonly [first: number, end: number] }
  | { readonly kind: "product-key"; readonly tensors: Readonly<Record<string, TensorInfo>> }
  | { readonly kind: "attention"; readonly tensors: Readonly<Record<string, TensorInfo>> };

/** Experts `first` to `first + count − 1` of a site are of one kind. */
export interface ExpertTable {
  readonly first: number;
  readonly count: number;
  readonly spec: ExpertSpec;
}

export interface MoeSpec {
  readonly experts: number;
  readonly router: RouterSpec;
  readonly table: readonly ExpertTable[];
}

/** Where gate logits come from and how they become a RouteSet. */
export interface RouterSpec {
  readonly input:
    | "block"
    | "previous-layer"
    | "before-attention"
    | "embedding"
    | "task"
    | "text-token"
    | "given";
  readonly logits: {
    /** Applied in order: one matrix, or two with a function between. */
    readonly layers: readonly Linear[];
    readonly between?: "tanh" | "gru" | "normalise" | undefined;
    readonly gate: "softmax" | "sigmoid" | "sqrt-softplus" | "cosine" | "tree" | "product-key";
    readonly temperature?: number | undefined;
    /** [experts], added to what the gate gives, for the selection only. */
    readonly selectionBias?: TensorInfo | undefined;
  };
  readonly selection:
    | { readonly rule: "top-k"; readonly k: number }
    | { readonly rule: "top-p"; readonly p: number; readonly kMax: number }
    | { readonly rule: "threshold"; readonly threshold: number; readonly kMax: number }
    | {
        readonly rule: "group-limited";
        readonly k: number;
        readonly groups: number;
        readonly groupsUsed: number;
      }
    | { readonly rule: "all" | "expert-choice" };
  readonly weights: {
    readonly rule: "renormalise" | "raw" | "one";
    readonly scale: number;
  };
  /** What one token carries from site to site. */
  readonly state?: "previous-logits" | "hidden" | "momentum" | undefined;
}

/** Most routes a token can have under a selection rule. */
export function maxRoutes({ selection }: RouterSpec, experts: number): number {
  if (selection.rule === "top-k" || selection.rule === "group-limited") return selection.k;
  if (selection.rule === "top-p" || selection.rule === "threshold") return selection.kMax;
  return experts;
}

/** The ropes of a plan, each once. */
export function ropeSpecs({ layers }: ModelPlan): RopeSpec[] {
  const ropes = layers.flatMap(({ blocks }) =>
    blocks.flatMap((block) => (block.kind === "attention" && block.rope ? [block.rope] : [])),
  );
  return [...new Set(ropes)];
}
