import type { Step } from "../../gpu/program.ts";
import type { TensorInfo } from "../../source/model_file.ts";
import type { Linear, MixerBlock } from "../plan.ts";
import { attentionMixer } from "./attention.ts";
import type { Build } from "./build.ts";
import { deltaNetMixer } from "./delta_net.ts";
import { expertAttentionMixer } from "./expert_attention.ts";
import { latentAttentionMixer } from "./latent_attention.ts";
import { productKeyMixer } from "./product_key.ts";
import { shortConvolutionMixer } from "./short_convolution.ts";

/** Floats per token that a block needs of the buffers all blocks share. */
export interface Scratch {
  /** What the first matrices give. */
  readonly projected: number;
  readonly queries: number;
  /** What goes into the output matrix. */
  readonly attended: number;
  /** What comes out of several output matrices, to be added up. */
  readonly given?: number | undefined;
}

/** Floats kept from token to token. */
export interface Kept {
  /** What `floats` counts: each position's, one after the other, or what the last one left for the next, and no way back. */
  readonly of: "each position" | "last position";
  /** How often that lies in the buffer, run behind run. Each has room for all positions of the context. */
  readonly runs: number;
  readonly floats: number;
}

/** A kind of block that is always there as a whole: all that mix tokens, and product-key experts. */
export interface Mixer<B> {
  /** Matrices, with their biases and scales, in the order they are used. */
  linears(block: B): readonly Linear[];
  /** Vectors and small tensors beside `block.norm` and `block.postNorm`. Those of an array lie in one buffer. */
  vectors(block: B): readonly TensorInfo[];
  scratch(block: B): Scratch;
  /** What it keeps from token to token, by name. */
  kept(block: B): Readonly<Record<string, Kept>>;
  /** x += block(norm(x)); of a block with experts what comes before their router */
  steps(build: Build, block: B): Step[];
}

const mixers: { readonly [K in MixerBlock["kind"]]: Mixer<Extract<MixerBlock, { kind: K }>> } = {
  attention: attentionMixer,
  "expert-attention": expertAttentionMixer,
  "latent-attention": latentAttentionMixer,
  "short-convolution": shortConvolutionMixer,
  "delta-net": deltaNetMixer,
  "product-key": productKeyMixer,
};

export function mixerOf<B extends MixerBlock>(block: B): Mixer<B> {
  return mixers[block.kind] as unknown as Mixer<B>;
}
