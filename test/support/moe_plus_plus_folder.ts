/** Small random MoE++ models as folders, and what they compute in float64, as the authors' code has it. */
import { expertDown, expertGateUp, matmul, pagelessExpert, route } from "../reference/index.ts";
import { LAYERS, llamaConfig, llamaLogits, llamaTensors, type Tensors, WIDTH } from "./tiny_llama.ts";

const [HIDDEN, TOP_K] = [32, 2];
const NTK_FACTOR = 4;

export interface MoePlusPlusOptions {
  /** Of a layer: all but the last four have a page, then come two constants, a copy and a zero. */
  readonly experts: number;
  readonly layers: 1 | 2;
  readonly isMixtral?: boolean;
  readonly isPlainInput?: boolean;
  /** The standard deviation of what the gate reads. */
  readonly deviation?: number;
  readonly hasLongRope?: boolean;
}

export const moePlusPlusConfig = (options: MoePlusPlusOptions) => ({
  ...llamaConfig,
  architectures: ["MoeForCausalLM"],
  model_type: "MoE++",
  // Their code does not read it.
  hidden_act: "gelu",
  intermediate_size: HIDDEN,
  rope_scaling: options.hasLongRope ? { type: "ntk", factor: NTK_FACTOR } : null,
  num_experts: [options.experts],
  moe_expert_interval: 1,
  moe_use_mixtral_gating: options.isMixtral ?? false,
  moe_2layer_gate: options.layers === 2,
  moe_use_logits_norm: options.deviation !== undefined,
  moe_gate_norm_std: options.deviation ?? 1,
  moe_feature_no_mul_topk: options.isPlainInput ?? false,
});

const expertAt = (layer: string, e: number) => `${layer}.mlp.moe.experts.experts.${e}`;
const gateAt = (layer: string) => `${layer}.mlp.moe.gate`;

function tensorsOf({ experts, layers }: MoePlusPlusOptions): Tensors {
  return llamaTensors(experts, (tensors, layer) => {
    const gate = gateAt(layer);
    if (layers === 1) tensors.add(`${gate}.wg.weight`, 0.2, [experts, WIDTH]);
    else {
      tensors.add(`${gate}.wg.0.weight`, 0.2, [8 * experts, WIDTH]);
      tensors.add(`${gate}.wg.2.weight`, 0.2, [experts, 8 * experts]);
    }
    tensors.add(`${gate}.gate_map.weight`, 0.3, [experts, experts]);
    for (let e = 0; e < experts - 4; e++) {
      tensors.add(`${expertAt(layer, e)}.up_proj.weight`, 0.15, [2 * HIDDEN, WIDTH]);
      tensors.add(`${expertAt(layer, e)}.down_proj.weight`, 0.15, [WIDTH, HIDDEN]);
    }
    for (let e = experts - 4; e < experts - 2; e++) {
      tensors.add(`${expertAt(layer, e)}.constant`, 0.5, [WIDTH]);
      tensors.add(`${expertAt(layer, e)}.wg.weight`, 0.1, [2, WIDTH]);
    }
  });
}

/** The files of the folder. @param config changes to it */
export function moePlusPlusFolder(
  options: MoePlusPlusOptions,
  config: Readonly<Record<string, unknown>> = {},
): File[] {
  return tensorsOf(options).files({ ...moePlusPlusConfig(options), ...config });
}

/** Logits of every position, [tokens, vocabulary], and how often each expert of each layer was chosen. */
export function moePlusPlusLogits(options: MoePlusPlusOptions, tokens: readonly number[]) {
  const { experts, isMixtral = false, isPlainInput = false, deviation, hasLongRope = false } = options;
  const tensors = tensorsOf(options);
  const uses = Array.from({ length: LAYERS }, () => new Array<number>(experts).fill(0));
  const zero = experts - 1;
  let previous: Float64Array | undefined;
  const base = hasLongRope ? NTK_FACTOR * llamaConfig.rope_theta : llamaConfig.rope_theta;
  const feedForward = (layer: string, f: Float64Array): Float64Array => {
    const own = gateLogits(tensors, layer, f, options.layers);
    const logits = previous ? matmul(previous, tensors.matrix(`${gateAt(layer)}.gate_map.weight`), own) : own;
    previous = logits;
    const dropped = isMixtral ? [] : [zero];
    const chosen = route(logits, { experts, topK: TOP_K, weightRule: "renorm", deviation, dropped });
    const l = Number(layer.split(".").at(-1));
    for (const e of chosen.experts) (uses[l] as number[])[e] = (uses[l]?.[e] ?? 0) + 1;
    const read = isMixtral || isPlainInput ? f : f.map((value) => TOP_K * value);
    const out = new Float64Array(f.length);
    chosen.experts.forEach((e, i) => {
      const first = Math.floor(i / TOP_K) * WIDTH;
      const given = outputOf(tensors, layer, e, experts, read.subarray(first, first + WIDTH));
      for (const [c, value] of given.entries()) {
        out[first + c] = (out[first + c] as number) + (chosen.weights[i] as number) * value;
      }
    });
    return out;
  };
  return { logits: llamaLogits(tensors, tokens, feedForward, base), uses };
}

function gateLogits(tensors: Tensors, layer: string, f: Float64Array, layers: 1 | 2): Float64Array {
  const gate = gateAt(layer);
  if (layers === 1) return matmul(f, tensors.matrix(`${gate}.wg.weight`));
  const inner = matmul(f, tensors.matrix(`${gate}.wg.0.weight`)).map(Math.tanh);
  return matmul(inner, tensors.matrix(`${gate}.wg.2.weight`));
}

function outputOf(tensors: Tensors, layer: string, e: number, experts: number, x: Float64Array) {
  const at = expertAt(layer, e);
  if (e === experts - 1) return pagelessExpert(x, { kind: "zero" });
  if (e === experts - 2) return pagelessExpert(x, { kind: "copy" });
  if (e >= experts - 4) {
    const gate = tensors.matrix(`${at}.wg.weight`);
    return pagelessExpert(x, { kind: "constant", vector: tensors.vector(`${at}.constant`), gate });
  }
  const up = tensors.vector(`${at}.up_proj.weight`);
  const half = (first: number) => {
    return { values: up.subarray(first * WIDTH, (first + HIDDEN) * WIDTH), rows: HIDDEN, cols: WIDTH };
  };
  const down = { values: tensors.vector(`${at}.down_proj.weight`), rows: WIDTH, cols: HIDDEN };
  return expertDown(expertGateUp(x, half(0), half(HIDDEN), [0]), down, [0]);
}
