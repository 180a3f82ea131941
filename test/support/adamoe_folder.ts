/** A small random AdaMoE on Mixtral as a folder, and what it computes in float64, from the paper's formula. */
import { combine, expertDown, expertGateUp, matmul, type Route, route } from "../reference/index.ts";
import { llamaConfig, llamaLogits, llamaTensors, type Tensors, WIDTH } from "./tiny_llama.ts";

const [EXPERTS, NULLS, TOP_K, HIDDEN] = [4, 4, 3, 32];

const config = {
  ...llamaConfig,
  architectures: ["MixtralForCausalLM"],
  model_type: "mixtral",
  intermediate_size: HIDDEN,
  num_local_experts: EXPERTS,
  num_experts_per_tok: TOP_K,
  sliding_window: null,
};

const at = (layer: string, name: string) => `${layer}.block_sparse_moe.${name}.weight`;
const allOf = (layer: string, part: string) =>
  Array.from({ length: EXPERTS }, (_, e) => at(layer, `experts.${e}.${part}`));

function tensorsOf(): Tensors {
  return llamaTensors(8, (tensors, layer) => {
    tensors.add(at(layer, "gate"), 0.2, [EXPERTS, WIDTH]);
    tensors.add(at(layer, "gate2"), 0.2, [NULLS, WIDTH]);
    for (const part of ["w1", "w3"]) {
      for (const name of allOf(layer, part)) tensors.add(name, 0.15, [HIDDEN, WIDTH]);
    }
    for (const name of allOf(layer, "w2")) tensors.add(name, 0.15, [WIDTH, HIDDEN]);
  });
}

/** The files of the folder. @param changes to its configuration */
export const adamoeFolder = (changes: Readonly<Record<string, unknown>> = {}): File[] =>
  tensorsOf().files({ ...config, ...changes });

/** Logits of every position, [tokens, vocabulary], and how many tokens had 0, 1, … experts. */
export function adamoeLogits(tokens: readonly number[]) {
  const tensors = tensorsOf();
  const tokensWith = new Array<number>(TOP_K + 1).fill(0);
  const logits = llamaLogits(tensors, tokens, (layer, f) => {
    const scores = matmul(f, tensors.matrix(at(layer, "gate"), at(layer, "gate2")));
    const dropped = Array.from({ length: NULLS }, (_, i) => EXPERTS + i);
    const options = { experts: EXPERTS + NULLS, topK: TOP_K, weightRule: "renorm", dropped } as const;
    const { experts, weights } = withoutNulls(route(scores, options), tokensWith);
    const each = (part: string) => {
      const { values, rows, cols } = tensors.matrix(...allOf(layer, part));
      return { values, rows: rows / EXPERTS, cols };
    };
    const hidden = expertGateUp(f, each("w1"), each("w3"), experts);
    return combine(expertDown(hidden, each("w2"), experts), weights, TOP_K);
  });
  return { logits, tokensWith };
}

/** Null experts compute nothing: here another takes the row, with the weight 0 that they have. */
function withoutNulls({ experts, weights }: Route, tokensWith: number[]) {
  for (let first = 0; first < experts.length; first += TOP_K) {
    const real = experts.subarray(first, first + TOP_K).filter((e) => e < EXPERTS).length;
    tokensWith[real] = (tokensWith[real] ?? 0) + 1;
  }
  return { experts: experts.map((e) => (e < EXPERTS ? e : 0)), weights };
}
