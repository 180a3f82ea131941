import { describe, expect, test } from "vitest";
import { planModel } from "../../src/model/archs/index.ts";
import { planPages } from "../../src/model/pages.ts";
import type { AttentionBlock, FeedForwardBlock, ModelPlan } from "../../src/model/plan.ts";
import { requireRunnable } from "../../src/model/runnable.ts";
import type { Metadata, ModelFile } from "../../src/source/model_file.ts";
import { smallModel } from "../support/engine.ts";
import { headerOf } from "./plan_file.ts";

const small = await headerOf(smallModel());

/** The small model's header under another architecture: 2 layers of width 128, 2 heads of 64, top 2 of 8 experts. */
function family(
  architecture: string,
  keys: Metadata = {},
  shapes: Readonly<Record<string, readonly number[]>> = {},
): ModelFile {
  const own = Object.entries(small.metadata).map(([key, value]) => [
    key.replace(/^qwen3moe\./, `${architecture}.`),
    value,
  ]);
  const more = Object.entries(keys).map(([key, value]) => [`${architecture}.${key}`, value]);
  let offset = small.size;
  const added = Object.entries(shapes).map(([name, shape]) => {
    const bytes = 4 * shape.reduce((all, n) => all * n, 1);
    offset += bytes;
    return { name, type: "F32" as const, shape, offset: offset - bytes, bytes };
  });
  const tensors = small.tensors.filter(({ name }) => !(name in shapes));
  const metadata = Object.fromEntries([...own, ...more, ["general.architecture", architecture]]);
  return { ...small, size: offset, metadata, tensors: [...tensors, ...added] };
}

/** Tensors of a dense layer (no suffix) or of shared experts in layers `first` to 1. */
function mlp(suffix: string, hidden: number, first = 0) {
  const layers = [0, 1].filter((l) => l >= first).map((l) => `blk.${l}`);
  return Object.fromEntries(
    layers.flatMap((blk) => [
      [`${blk}.ffn_gate${suffix}.weight`, [hidden, 128]],
      [`${blk}.ffn_up${suffix}.weight`, [hidden, 128]],
      [`${blk}.ffn_down${suffix}.weight`, [128, hidden]],
    ]),
  );
}

function planned(...args: Parameters<typeof family>): ModelPlan {
  const plan = planModel(family(...args));
  expect(requireRunnable(plan)).toBeUndefined();
  return plan;
}

const blocksOf = (plan: ModelPlan, layer: number) =>
  plan.layers[layer]?.blocks as readonly [AttentionBlock, FeedForwardBlock];

const rowsOf = ({ base }: FeedForwardBlock) =>
  base?.expert.kind === "gated" ? base.expert.up.weight.shape[0] : undefined;

describe("families", () => {
  test("llama with experts", () => {
    const plan = planned("llama", { expert_feed_forward_length: 0, feed_forward_length: 128 });
    const [attention, { base, moe }] = blocksOf(plan, 1);
    expect(attention.rope).toMatchObject({ interleaved: true, factors: undefined });
    expect([attention.qNorm, attention.kNorm, base]).toEqual([undefined, undefined, undefined]);
    expect(moe?.router).toMatchObject({ selection: { k: 2 }, weights: { rule: "renormalise", scale: 1 } });
  });

  test("llama without, and with factors of its rope", () => {
    const shapes = { ...mlp("", 96), "rope_freqs.weight": [32], "blk.1.ffn_up.bias": [96] };
    const plan = planned("llama", { expert_count: 0, feed_forward_length: 96 }, shapes);
    const [{ rope }, feedForward] = blocksOf(plan, 1);
    expect(rope?.factors?.name).toBe("rope_freqs.weight");
    expect(feedForward.moe).toBeUndefined();
    expect(feedForward.base).toMatchObject({ expert: { up: { bias: { shape: [96] }, scalesBias: true } } });
    expect(rowsOf(feedForward)).toBe(96);
    const { sites, denseGroups } = planPages(plan);
    expect(sites).toEqual([]);
    // Embedding, two layers, output; what is always on lies with its layer, and nothing twice.
    const names = denseGroups.map((group) => group.flatMap(({ parts }) => parts.map(({ tensor }) => tensor)));
    expect(names).toHaveLength(4);
    const inFeedForward = [
      ...["norm.weight", "gate.weight", "up.weight", "up.bias", "down.weight"].map(
        (end) => `blk.1.ffn_${end}`,
      ),
    ];
    expect(names[2]?.filter((name) => name.startsWith("blk.1.ffn"))).toEqual(inFeedForward);
    expect(names[3]).toContain("rope_freqs.weight");
    expect(new Set(names.flat()).size).toBe(names.flat().length);
  });

  test("qwen3", () => {
    const plan = planned("qwen3", { feed_forward_length: 96 }, mlp("", 96));
    const [{ rope, qNorm }, feedForward] = blocksOf(plan, 0);
    expect(rope?.interleaved).toBe(false);
    expect(qNorm?.weight?.shape).toEqual([64]);
    expect([feedForward.moe, rowsOf(feedForward)]).toEqual([undefined, 96]);
  });

  test("qwen2moe", () => {
    const gates = { "blk.0.ffn_gate_inp_shexp.weight": [128], "blk.1.ffn_gate_inp_shexp.weight": [128] };
    const keys = { expert_shared_feed_forward_length: 64, expert_weights_scale: 0 };
    const plan = planned("qwen2moe", keys, { ...mlp("_shexp", 64), ...gates });
    const [{ rope, qNorm }, feedForward] = blocksOf(plan, 1);
    expect([rope?.interleaved, qNorm, rowsOf(feedForward)]).toEqual([false, undefined, 64]);
    // A vector in the file, a matrix of one row to the engine.
    expect(feedForward.base?.gate?.weight.shape).toEqual([1, 128]);
    expect(feedForward.moe?.router.weights).toEqual({ rule: "raw", scale: 1 });
  });

  test("olmoe", () => {
    const layers = ["blk.0", "blk.1"];
    const norms = layers.flatMap((blk) => [`${blk}.attn_q_norm.weight`, `${blk}.attn_k_norm.weight`]);
    const shapes = Object.fromEntries(norms.map((name) => [name, [128]]));
    const [{ qNorm, kNorm }, { moe }] = blocksOf(planned("olmoe", {}, shapes), 0);
    expect([qNorm?.weight?.shape, kNorm?.weight?.shape]).toEqual([[128], [128]]);
    expect(moe?.router.weights.rule).toBe("raw");
    expect(() => planModel(family("olmoe"))).toThrow("attn_q_norm.weight has shape [64]");
  });

  test("granitemoe", () => {
    const scales = { embedding_scale: 12, residual_scale: 0.22, "attention.scale": 0.015625, logit_scale: 8 };
    const plan = planned("granitemoe", scales);
    expect(plan).toMatchObject({ embeddingScale: 12, residualScale: 0.22, outputScale: 0.125 });
    expect(blocksOf(plan, 1)).toMatchObject([
      { scale: 0.015625, rope: { interleaved: true } },
      { base: undefined },
    ]);
    const unset = { embedding_scale: 0, residual_scale: 0, "attention.scale": 0, logit_scale: 0 };
    const shared = planned(
      "granitemoe",
      { ...unset, expert_shared_feed_forward_length: 32 },
      mlp("_shexp", 32),
    );
    expect(shared).toMatchObject({ embeddingScale: 1, residualScale: 1, outputScale: 1 });
    const [attention, feedForward] = blocksOf(shared, 1);
    expect([attention.scale, rowsOf(feedForward)]).toEqual([0.125, 32]);
  });

  test("deepseek: the first layers are dense", () => {
    const keys = { leading_dense_block_count: 1, expert_shared_count: 2, feed_forward_length: 96 };
    const plan = planned("deepseek", keys, { ...mlp("", 96), ...mlp("_shexp", 256, 1) });
    const [dense, sparse] = [blocksOf(plan, 0)[1], blocksOf(plan, 1)[1]];
    expect([dense.moe, rowsOf(dense)]).toEqual([undefined, 96]);
    expect([sparse.moe?.router.weights.rule, rowsOf(sparse)]).toEqual(["raw", 256]);
    expect(planPages(plan).sites).toHaveLength(1);
    expect(() => planModel(family("deepseek", keys, mlp("", 96)))).toThrow(
      "ffn_gate_shexp.weight is missing",
    );
  });

  test("bailingmoe: the file says whether weights are renormalised", () => {
    const keys = { expert_shared_count: 1, "rope.dimension_count": 32 };
    const ruleOf = (more: Metadata) =>
      blocksOf(planned("bailingmoe", { ...keys, ...more }, mlp("_shexp", 128)), 1)[1].moe?.router.weights
        .rule;
    expect([ruleOf({ expert_weights_norm: true }), ruleOf({})]).toEqual(["renormalise", "raw"]);
    expect(blocksOf(planned("bailingmoe", keys, mlp("_shexp", 128)), 1)[0].scale).toBeCloseTo(32 ** -0.5, 12);
    const asText = { ...keys, expert_weights_norm: "yes" };
    expect(() => planModel(family("bailingmoe", asText, mlp("_shexp", 128)))).toThrow("not a flag");
  });

  test("ernie4_5-moe: experts in every second layer, chosen with a bias", () => {
    const keys = {
      interleave_moe_layer_step: 2,
      expert_shared_feed_forward_length: 64,
      feed_forward_length: 96,
    };
    const shapes = { ...mlp("", 96), ...mlp("_shexp", 64, 1), "blk.1.exp_probs_b.bias": [8] };
    const plan = planned("ernie4_5-moe", keys, shapes);
    const [dense, sparse] = [blocksOf(plan, 0)[1], blocksOf(plan, 1)[1]];
    expect([dense.moe, rowsOf(dense), rowsOf(sparse)]).toEqual([undefined, 96, 64]);
    expect(sparse.moe?.router).toMatchObject({
      logits: { selectionBias: { name: "blk.1.exp_probs_b.bias" } },
      weights: { rule: "renormalise" },
    });
    const names = planPages(plan).denseGroups[2]?.flatMap(({ parts }) => parts.map(({ tensor }) => tensor));
    expect(names).toContain("blk.1.exp_probs_b.bias");
  });
});
