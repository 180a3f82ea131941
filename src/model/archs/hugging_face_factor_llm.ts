import type { Family } from "./hugging_face_family.ts";
import type { Names } from "./hugging_face_names.ts";

const PARTS = ["gate", "up", "down"];

/**
 * FactorLLM as its authors published it: Llama whose MLPs are cut into `num_experts` slices, tensors of their own beside the
 * dense ones, which only training reads; or, with `shares_dense`, slices of the dense ones. Their code has no configuration
 * of it, and reads no base of the rope.
 */
export const factorLlm: Family = {
  architecture: "factor-llm",
  keys: (config) => {
    const experts = config.required("num_experts");
    const k = config.number("num_experts_per_tok") ?? Math.floor(experts / 2);
    return {
      expert_feed_forward_length: config.required("intermediate_size") / experts,
      expert_used_count: k,
      // Their code divides whole.
      expert_weights_scale: (Math.floor(experts / k) * k) / experts,
      "rope.freq_base": 10000,
    };
  },
  names: (config): Names => {
    const shares = config.flag("shares_dense") ?? false;
    const parts = PARTS.flatMap((part) => [
      [`mlp.${part}_proj_list.*`, `ffn_${part}_exps`] as const,
      [
        `mlp.${part}_proj`,
        shares ? { cut: `ffn_${part}_exps`, by: part === "down" ? "columns" : "rows" } : "unused",
      ] as const,
    ]);
    return { "mlp.route1": "ffn_gate_inp", ...Object.fromEntries(parts) };
  },
};
