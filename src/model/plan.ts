import type { Activation, Pointwise } from "../kernels/activation.ts";
import { GROUP_WEIGHTS } from "../quant/layout.ts";
import type { TensorInfo } from "../source/model_file.ts";
import { cellOf, type ExpertSpec, type MoeSpec, type RecurrentCell, type TokenReader } from "./moe_plan.ts";

/**
 * What a model is to the engine. Architecture mappings make one from a file's metadata and tensors; after
 * that no code asks which family it runs. The types can say more than the kernels can run yet:
 * `requireRunnable` turns what is missing into `unsupported-model`.
 */
export interface ModelPlan {
  /** As the file names it, for messages. */
  readonly architecture: string;
  readonly name: string;
  /** Rows of the output: tokens, or the numbers that all heads of a forecast give together. */
  readonly vocabulary: number;
  /** Width of the residual stream. */
  readonly width: number;
  /** Longest sequence the model was made for, in tokens. */
  readonly contextTokens: number;
  /** The table of the tokens, or what makes the residual stream of a point of a series. */
  readonly embedding: Linear | SeriesEmbedding;
  /** Learned positions: [contextTokens, width], added to the embedding. */
  readonly positions?: Linear | undefined;
  /** Multiplies the embedding. */
  readonly embeddingScale: number;
  /** Multiplies what a block adds to the residual stream. */
  readonly residualScale: number;
  readonly layers: readonly LayerPlan[];
  readonly finalNorm: NormSpec;
  /** Logits; the embedding itself where the file ties them. Of a series: its heads, by rising steps. */
  readonly output: Linear | readonly HorizonHead[];
  /** Multiplies the logits. */
  readonly outputScale: number;
  /** Logits l become cap · tanh(l / cap). */
  readonly outputSoftcap?: number | undefined;
}

/** x = f(gate · p) ⊙ (value · p) of a point p. */
export interface SeriesEmbedding {
  readonly kind: "series";
  /** Numbers of a point. */
  readonly size: number;
  readonly activation: Activation;
  /** [width, size] */
  readonly gate: TensorInfo;
  readonly value: TensorInfo;
}

/** Says the next `steps` points at once. */
export interface HorizonHead {
  readonly steps: number;
  /** [steps · size, width] */
  readonly linear: Linear;
}

/** Blocks run in order, each reading the residual stream and adding to it. */
export interface LayerPlan {
  readonly blocks: readonly Block[];
}

/** A block that is always there as a whole, as all that mix tokens are, or one that may have experts to bring. */
export type Block = MixerBlock | FeedForwardBlock;
export type MixerBlock =
  | AttentionBlock
  | ExpertAttentionBlock
  | LatentAttentionBlock
  | ShortConvolutionBlock
  | DeltaNetBlock
  | ProductKeyBlock;

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
  /** In place of `factors` where the sequence may be longer than `above` tokens. */
  readonly longFactors?: { readonly tensor: TensorInfo; readonly above: number } | undefined;
  /** Multiplies cos and sin. */
  readonly magnitude: number;
}

/** What every block has. */
interface Branch {
  /** Before the block. */
  readonly norm: NormSpec;
  /** Behind it: of what it adds to the residual stream. */
  readonly postNorm?: NormSpec | undefined;
}

/** RMSNorm of the heads of q or k: over each head, or over all heads together, as the weight is long. */
export interface HeadNorm {
  /** Absent: the norm alone, of each head. */
  readonly weight?: TensorInfo | undefined;
  readonly epsilon: number;
}

export interface AttentionBlock extends Branch {
  readonly kind: "attention";
  readonly heads: number;
  readonly kvHeads: number;
  readonly keySize: number;
  readonly valueSize: number;
  /**
   * A soft mixture (BAM): the heads are those of several experts, one expert behind the other, and so are their matrices.
   */
  readonly mixture?: MixtureSpec | undefined;
  /** [heads · keySize, width]; where it holds the gate too, each head's query is followed by the head's gate. */
  readonly q: Linear;
  readonly k: Linear;
  readonly v: Linear;
  readonly output: Linear;
  /** sigmoid(gate · n) multiplies what the heads give: a row for each element or each head, or rows of `q`. */
  readonly gate?: Linear | "in q" | undefined;
  /** q, k and v are cut off at ± this. */
  readonly clamp?: number | undefined;
  readonly qNorm?: HeadNorm | undefined;
  readonly kNorm?: HeadNorm | undefined;
  /** Norms of q and k come behind the rotation. */
  readonly normsAfterRope?: boolean | undefined;
  /** Absent: no positions. */
  readonly rope?: RopeSpec | undefined;
  /** q is multiplied by 1 + scale · ln(⌊(position + offset) / length⌋ + 1). */
  readonly temperature?:
    | { readonly scale: number; readonly length: number; readonly offset: number }
    | undefined;
  /** Multiplies q·k. */
  readonly scale: number;
  /** Scores s become cap · tanh(s / cap). */
  readonly softcap?: number | undefined;
  /** Absent: a query sees all before it. */
  readonly window?: WindowSpec | undefined;
  /** [heads], a logit per head that takes part in the softmax and adds nothing. */
  readonly sinks?: TensorInfo | undefined;
}

/** What all experts give is added up, with softmax(gate · n) for weights. */
export interface MixtureSpec {
  readonly experts: number;
  /** [experts, width] */
  readonly gate: Linear;
  /** All experts attend to the same `kvHeads`; else each has its share of them to itself. */
  readonly sharesKeys: boolean;
}

/**
 * Attention whose queries and outputs are experts (ModuleFormer): each chosen one asks with heads of its own, over keys
 * and values that all share. Positions are not told; weights of keys break a stick, the newest first.
 */
export interface ExpertAttentionBlock extends Branch {
  readonly kind: "expert-attention";
  /** Of each expert, and of the keys and values. */
  readonly heads: number;
  readonly headSize: number;
  /** [heads · headSize, width] each; absent: what the block reads is its own key and value, of one head. */
  readonly keyValue?: { readonly k: Linear; readonly v: Linear } | undefined;
  /** Multiplies q·k. */
  readonly scale: number;
  readonly moe: MoeSpec;
}

export interface WindowSpec {
  readonly tokens: number;
  /** The last so many tokens, itself included; or those in the same stretch of so many from the start. */
  readonly kind: "sliding" | "chunk";
}

/**
 * Multi-head latent attention (DeepSeek-V2): keys and values of all heads are matrices times one latent vector, which
 * alone is kept, beside one rotated key.
 */
export interface LatentAttentionBlock extends Branch {
  readonly kind: "latent-attention";
  readonly heads: number;
  /** Elements of the latent. */
  readonly rank: number;
  /** Elements of a head's key that are rotated, behind those that are not. */
  readonly rotary: number;
  readonly plain: number;
  readonly valueSize: number;
  /** Compression of the query: [queryRank, width] and the norm of what it gives. */
  readonly queryDown?: { readonly linear: Linear; readonly norm: NormSpec } | undefined;
  /** [heads · (plain + rotary), queryRank or width] */
  readonly q: Linear;
  /** [rank + rotary, width] */
  readonly keyValue: Linear;
  /** Of the latent. */
  readonly keyValueNorm: NormSpec;
  /** [heads, rank, plain]: takes a head's query to the latent's space. */
  readonly keyUp: Linear;
  /** [heads, valueSize, rank]. The same tensor as `keyUp`, [heads · (plain + valueSize), rank], where one holds both. */
  readonly valueUp: Linear;
  readonly output: Linear;
  readonly rope: RopeSpec;
  /** Multiplies q·k. */
  readonly scale: number;
}

/** LFM2: y = output · (c ⊙ conv(b ⊙ x)), [b, c, x] = input · n, the convolution over the last tokens, per channel. */
export interface ShortConvolutionBlock extends Branch {
  readonly kind: "short-convolution";
  /** [3 · width, width] */
  readonly input: Linear;
  /** [width, tokens], the newest token last */
  readonly kernel: TensorInfo;
  readonly output: Linear;
}

/** Gated delta net (Yang et al. 2024): linear attention whose state forgets, and is corrected rather than added to. */
export interface DeltaNetBlock extends Branch {
  readonly kind: "delta-net";
  readonly keyHeads: number;
  readonly valueHeads: number;
  readonly keySize: number;
  readonly valueSize: number;
  /** Value head h reads key head h mod keyHeads; else key heads are repeated one behind the other. */
  readonly tiled: boolean;
  /** Together [2 · keyHeads · keySize + valueHeads · valueSize, width]: q, k, v, in one matrix or several. */
  readonly qkv: readonly Linear[];
  /** [valueHeads · valueSize, width], gates what the heads give. */
  readonly gate: Linear;
  /** [valueHeads, width], how strongly the state is corrected. Where `alpha` is absent it holds both, by turns of a key head. */
  readonly beta: Linear;
  /** [valueHeads, width], how fast it forgets. */
  readonly alpha?: Linear | undefined;
  /** [channels of qkv, tokens], the newest token last */
  readonly kernel: TensorInfo;
  /** [valueHeads]: −exp(A) and the bias of alpha. */
  readonly decay: TensorInfo;
  readonly decayBias: TensorInfo;
  /** Of each head, [valueSize]. */
  readonly headNorm: NormSpec;
  readonly output: Linear;
}

/**
 * Monet (Park et al. 2024): an expert for each pair of keys, one of either axis, whose weights are the keys'. All
 * of them are there, in matrices of the keys, so nothing is routed to slots.
 */
export interface ProductKeyBlock extends Branch {
  readonly kind: "product-key";
  readonly heads: number;
  /** Of each axis. */
  readonly keys: number;
  /** Hidden elements of a key in each matrix of `up`. */
  readonly units: number;
  /** See `ProductKeyShape`. */
  readonly decompose: "horizontal" | "vertical";
  /** Absent: the weights that the last block with a router left are taken as they are. */
  readonly router?: ProductKeyRouter | undefined;
  readonly activation: Pointwise;
  /** [keys · units, width], a key's units together: of the first axis, and vertically one of each axis. */
  readonly up: readonly Linear[];
  /** [width, keys · units] of the second axis; vertically four [width / 2, keys · units], of axis and source 11, 12, 21, 22. */
  readonly down: readonly Linear[];
  /** [keys, width] of the second axis; vertically [keys, width / 2] of each. */
  readonly biases: readonly TensorInfo[];
}

export interface ProductKeyRouter {
  /** Of each axis [heads · keys, width]. */
  readonly scores: readonly Linear[];
  /** Of each axis, [heads]: what batch normalisation takes off a score and, with epsilon, divides by the root of. */
  readonly statistics: readonly { readonly mean: TensorInfo; readonly variance: TensorInfo }[];
  readonly epsilon: number;
  /** Keys are kept from this normalised score on, and the best of a head in any case. May be infinite. */
  readonly threshold: number;
}

export interface FeedForwardBlock extends Branch {
  readonly kind: "feed-forward";
  /** It reads what the block before it read, through the same norm: the two stand side by side. */
  readonly parallel?: boolean | undefined;
  /** Multiplies what it gives, before `postNorm`. */
  readonly scale?: number | undefined;
  /** What it gives moves the residual stream by way of a velocity. */
  readonly momentum?: Momentum | undefined;
  /** Always on: a dense layer, shared experts or a residual MLP. */
  readonly base?: { readonly expert: ExpertSpec; readonly gate?: Linear | undefined } | undefined;
  /** [2, width]: in place of a plain sum, the softmax of its products weighs what the experts give and what `base` gives. */
  readonly mix?: Linear | undefined;
  /** Absent: a dense layer. */
  readonly moe?: MoeSpec | undefined;
}

/**
 * MomentumSMoE (Teo & Nguyen 2024): a token carries a velocity p from block to block, 0 before the first. Where the block
 * gives f, p ← factor · p + step · f and x ← x − p. The sign is that of the published code.
 */
export interface Momentum {
  readonly factor: number;
  readonly step: number;
  /** x ← norm(x − p), and the block reads x without one. */
  readonly isPostNorm?: boolean | undefined;
  /**
   * Of the first such block alone: x ← −step · m / √(v + 10⁻⁸), m = (1 − mean) · f, v = (1 − square) · f². The published
   * code adds x to what it takes from x, so that the residual stream begins anew.
   */
  readonly adam?: { readonly mean: number; readonly square: number; readonly step: number } | undefined;
}

/** Where a site is. */
export interface SitePlace {
  readonly layer: number;
  readonly block: "attention" | "feed-forward";
}

/** The MoE sites of a plan in the order they run, each with its place. */
export function moeLayers({ layers }: ModelPlan): (SitePlace & { readonly moe: MoeSpec })[] {
  return layers.flatMap(({ blocks }, layer) =>
    blocks.flatMap((block) => {
      const moe = moeOf(block);
      const kind = block.kind === "feed-forward" ? block.kind : "attention";
      return moe ? [{ layer, block: kind, moe } as const] : [];
    }),
  );
}

/** What a plan of a series has at its two ends; undefined for one of tokens. */
export function seriesOf({ embedding, output }: ModelPlan) {
  if (!("kind" in embedding)) return undefined;
  return { embedding, heads: output as readonly HorizonHead[] };
}

/** What gives the logits, one below the other. */
export function outputLinears({ output }: ModelPlan): readonly Linear[] {
  return "weight" in output ? [output] : output.map(({ linear }) => linear);
}

/** What routers of tokens read with; one for all. */
export function tokenReader(plan: ModelPlan): TokenReader | undefined {
  return moeLayers(plan)
    .map(({ moe }) => moe.router.reader)
    .find((reader) => reader !== undefined);
}

/** Blocks in the order they run, a router's first. */
export function allBlocks(plan: ModelPlan): Block[] {
  return [...(tokenReader(plan)?.blocks ?? []), ...plan.layers.flatMap(({ blocks }) => blocks)];
}

/** The ropes of a plan, each once. */
export function ropeSpecs(plan: ModelPlan): RopeSpec[] {
  const ropes = allBlocks(plan).flatMap((block) => ("rope" in block && block.rope ? [block.rope] : []));
  return [...new Set(ropes)];
}

/** The recurrent cells of a plan's routers, each once. */
export function recurrentCells({ layers }: ModelPlan): RecurrentCell[] {
  const cells = layers.flatMap(({ blocks }) =>
    blocks.flatMap((block) => {
      const moe = moeOf(block);
      return moe ? cellOf(moe) : [];
    }),
  );
  return [...new Set(cells)];
}

/** A block's site, if it has one. */
export function moeOf(block: Block): MoeSpec | undefined {
  return "moe" in block ? block.moe : undefined;
}

/** A site reads the logits of the one before it. */
export function carriesLogits({ layers }: ModelPlan): boolean {
  return layers.some(({ blocks }) =>
    blocks.some((block) => block.kind === "feed-forward" && block.moe?.router.state === "previous-logits"),
  );
}

/** Matrices of others are for routers alone. */
export function hasWholeGroups({ shape }: TensorInfo): boolean {
  return (shape.at(-1) ?? 0) % GROUP_WEIGHTS === 0;
}
