import gelu from "../../shaders/lib/activation_gelu.wgsl?raw";
import relu from "../../shaders/lib/activation_relu.wgsl?raw";
import reluSquared from "../../shaders/lib/activation_relu_squared.wgsl?raw";
import silu from "../../shaders/lib/activation_silu.wgsl?raw";
import swigluOai from "../../shaders/lib/activation_swiglu_oai.wgsl?raw";
import type { Constants } from "../gpu/compose.ts";

/**
 * What a gate g and an up u become:
 *
 * - `silu`, `gelu` (by tanh, as ggml's), `relu`, `relu-squared`: f(g) · u
 * - `swiglu-oai` (gpt-oss): a · σ(alpha · a) · (b + 1), a = min(g, limit), b = u cut off at ± limit
 */
export type Activation = "silu" | "gelu" | "relu" | "relu-squared" | "swiglu-oai";

export interface ActivationArgs {
  /** `silu` unless told. */
  readonly activation?: Activation | undefined;
  /** Of `swiglu-oai`: 7 unless told. */
  readonly limit?: number | undefined;
  /** Of `swiglu-oai`: 1.702 unless told. */
  readonly alpha?: number | undefined;
}

const snippets: Record<Activation, string> = {
  silu,
  gelu,
  relu,
  "relu-squared": reluSquared,
  "swiglu-oai": swigluOai,
};

/** WGSL `activation(gate, up)` and its constants. */
export function activationCode({ activation = "silu", limit = 7, alpha = 1.702 }: ActivationArgs): {
  snippet: string;
  constants: Constants;
} {
  const isClamped = activation === "swiglu-oai";
  return {
    snippet: snippets[activation],
    constants: isClamped ? { LIMIT: { f32: limit }, ALPHA: { f32: alpha } } : {},
  };
}
