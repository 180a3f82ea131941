import gelu from "../../shaders/lib/activation_gelu.wgsl?raw";
import geluErf from "../../shaders/lib/activation_gelu_erf.wgsl?raw";
import linear from "../../shaders/lib/activation_linear.wgsl?raw";
import relu from "../../shaders/lib/activation_relu.wgsl?raw";
import reluSquared from "../../shaders/lib/activation_relu_squared.wgsl?raw";
import sigmoid from "../../shaders/lib/activation_sigmoid.wgsl?raw";
import silu from "../../shaders/lib/activation_silu.wgsl?raw";
import swigluOai from "../../shaders/lib/activation_swiglu_oai.wgsl?raw";
import tanh from "../../shaders/lib/activation_tanh.wgsl?raw";
import safeTanh from "../../shaders/lib/safe_tanh.wgsl?raw";
import type { Constants } from "../gpu/compose.ts";

/**
 * What a gate g and an up u become:
 *
 * - `silu`, `gelu` (by tanh, as ggml's), `gelu-erf` (g · Φ(g), without approximation), `relu`, `relu-squared`, `sigmoid`,
 *   `tanh`, `linear` (g itself): f(g) · u
 * - `swiglu-oai` (gpt-oss): a · σ(alpha · a) · (b + 1), a = min(g, limit), b = u cut off at ± limit
 */
export type Activation =
  | "silu"
  | "gelu"
  | "gelu-erf"
  | "relu"
  | "relu-squared"
  | "sigmoid"
  | "tanh"
  | "linear"
  | "swiglu-oai";

/** Of those, functions of g alone where u is 1. */
export type Pointwise = Exclude<Activation, "swiglu-oai">;

export interface ActivationArgs {
  /** `silu` unless told. */
  readonly activation?: Activation | undefined;
  /** Of `swiglu-oai`: 7 unless told. */
  readonly limit?: number | undefined;
  /** Of `swiglu-oai`: 1.702 unless told. */
  readonly alpha?: number | undefined;
}

const snippets: Record<Activation, readonly string[]> = {
  silu: [silu],
  gelu: [gelu],
  "gelu-erf": [geluErf],
  relu: [relu],
  "relu-squared": [reluSquared],
  sigmoid: [sigmoid],
  tanh: [safeTanh, tanh],
  linear: [linear],
  "swiglu-oai": [swigluOai],
};

/** WGSL `activation(gate, up)` and its constants. */
export function activationCode({ activation = "silu", limit = 7, alpha = 1.702 }: ActivationArgs): {
  snippets: readonly string[];
  constants: Constants;
} {
  const isClamped = activation === "swiglu-oai";
  return {
    snippets: snippets[activation],
    constants: isClamped ? { LIMIT: { f32: limit }, ALPHA: { f32: alpha } } : {},
  };
}
