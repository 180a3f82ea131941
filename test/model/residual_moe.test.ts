import { expect, test } from "vitest";
import type { SluiceError } from "../../src/errors.ts";
import { planModel } from "../../src/model/archs/index.ts";
import { planPages } from "../../src/model/pages.ts";
import { requireRunnable } from "../../src/model/runnable.ts";
import { moeBlocks } from "../../src/model/state.ts";
import { specOf } from "../../src/source/spec.ts";
import { MemoryBackend } from "../../src/store/memory.ts";
import { ModelStore } from "../../src/store/model_store.ts";
import { type MegatronOptions, megatronFolder } from "../support/megatron_folder.ts";

async function headerOf(options: MegatronOptions, config: Readonly<Record<string, unknown>> = {}) {
  const { file } = await new ModelStore(new MemoryBackend(0)).open(specOf(megatronFolder(options, config)));
  return file;
}

test("each layer has as many experts as its configuration says, weighed by how many are chosen", async () => {
  const sites = async (options: MegatronOptions) =>
    moeBlocks(planModel(await headerOf(options))).map(({ moe, mix }) => [
      moe.experts,
      moe.router.weights.rule,
      mix !== undefined,
    ]);
  expect(await sites({ experts: [4, 6], residual: true })).toEqual([
    [4, "raw", true],
    [6, "raw", true],
  ]);
  expect(await sites({ experts: [4], every: 1, k: 2 })).toEqual(new Array(4).fill([4, "renormalise", false]));
});

test("which GELU it is follows from what Megatron fuses, where no other function is named", async () => {
  const activation = async (config: Readonly<Record<string, unknown>>) => {
    const file = await headerOf({ experts: [4] }, { hidden_act: null, ...config });
    return moeBlocks(planModel(file))[0]?.moe.table[0]?.spec;
  };
  expect(await activation({})).toMatchObject({ activation: "gelu" });
  expect(await activation({ bias_gelu_fusion: false })).toMatchObject({ activation: "gelu-erf" });
  expect(await activation({ bias_gelu_fusion: false, openai_gelu: true })).toMatchObject({
    activation: "gelu",
  });
});

test("q, k and v are the rows of each head in one tensor, each byte in one page", async () => {
  const plan = planModel(await headerOf({ experts: [4], residual: true }));
  requireRunnable(plan);
  const { pages, sourceBytes } = planPages(plan);
  const parts = pages.flatMap(({ parts }) => parts);
  expect(parts.filter(({ tensor }) => tensor === "blk.0.attn_k.weight")).toHaveLength(2);
  const places = parts.map(({ source }) => source).sort((a, b) => a.offset - b.offset);
  const overlap = places.find(
    (place, i) => place.offset < (places[i - 1]?.offset ?? 0) + (places[i - 1]?.bytes ?? 0),
  );
  expect(overlap).toBeUndefined();
  const all = (await headerOf({ experts: [4], residual: true })).tensors.reduce(
    (sum, { bytes }) => sum + bytes,
    0,
  );
  expect(sourceBytes).toBe(all);
});

test.each<[string, MegatronOptions, Readonly<Record<string, unknown>>, RegExp, string]>([
  [
    "an MLP that is not announced",
    { experts: [4], residual: true },
    { mlp_type: "standard" },
    /coefficient|ffn_(up_shexp|mix)/,
    "unsupported-model",
  ],
  [
    "one that is missing",
    { experts: [4] },
    { mlp_type: "residual" },
    /ffn_up_shexp\.weight is missing/,
    "bad-model-file",
  ],
  ["another kind", { experts: [4] }, { mlp_type: "shared" }, /mlp_type shared/, "unsupported-model"],
  [
    "counts for other layers",
    { experts: [4, 6] },
    { num_experts: [4, 6, 8] },
    /not counts of 2 layers/,
    "bad-model-file",
  ],
  ["half an expert", { experts: [4] }, { num_experts: 0.5 }, /num_experts is 0\.5/, "bad-model-file"],
  ["shared keys", { experts: [4] }, { num_key_value_heads: 1 }, /num_key_value_heads 1/, "unsupported-model"],
  [
    "heads that do not divide",
    { experts: [4] },
    { num_attention_heads: 5 },
    /holds 3 matrices of 5 heads/,
    "bad-model-file",
  ],
  ["gates", { experts: [4] }, { swiglu: true }, /swiglu true/, "unsupported-model"],
  [
    "residuals behind the norm",
    { experts: [4] },
    { apply_residual_connection_post_layernorm: true },
    /apply_residual_connection_post_layernorm true/,
    "unsupported-model",
  ],
  [
    "other norms",
    { experts: [4] },
    { normalization: "rmsnorm" },
    /normalization "rmsnorm"/,
    "unsupported-model",
  ],
  [
    "turned positions",
    { experts: [4] },
    { use_rotary_position_embeddings: true },
    /use_rotary_position_embeddings true/,
    "unsupported-model",
  ],
])("refused: %s", async (_, options, config, message, code) => {
  const file = await headerOf(options, config);
  let error: SluiceError | undefined;
  try {
    planModel(file);
  } catch (reason) {
    error = reason as SluiceError;
  }
  expect(error?.message).toMatch(message);
  expect(error).toMatchObject({ code });
});
