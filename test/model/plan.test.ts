import { describe, expect, test } from "vitest";
import { SluiceError, type SluiceErrorCode } from "../../src/errors.ts";
import { planModel } from "../../src/model/archs/index.ts";
import { describeExperts, prepare } from "../../src/model/load.ts";
import type { MoeSpec } from "../../src/model/moe_plan.ts";
import type { AttentionBlock, Block, FeedForwardBlock, ModelPlan } from "../../src/model/plan.ts";
import { requireRunnable } from "../../src/model/runnable.ts";
import { smallModel } from "../support/engine.ts";
import { tinyStoriesModel } from "../support/golden.ts";
import { type Changes, changed, headerOf } from "./plan_file.ts";

const file = await headerOf(smallModel());
const storyFile = await headerOf(tinyStoriesModel());

function failureOf(code: SluiceErrorCode, run: () => unknown): SluiceError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(SluiceError);
    expect(error).toMatchObject({ code });
    return error as SluiceError;
  }
  throw new Error(`nothing failed with ${code}`);
}

const blocksOf = (plan: ModelPlan, layer: number) =>
  plan.layers[layer]?.blocks as readonly [AttentionBlock, FeedForwardBlock];

test("the plan of the trained model", () => {
  const plan = planModel(storyFile);
  expect(plan).toMatchObject({ name: "tiny-stories-moe", vocabulary: 2048, width: 256, contextTokens: 512 });
  expect(plan.layers).toHaveLength(6);
  // The file has no output.weight.
  expect(plan.output).toBe(plan.embedding);
  const [attention, feedForward] = blocksOf(plan, 5);
  expect(attention).toMatchObject({ heads: 8, kvHeads: 4, keySize: 32, valueSize: 32 });
  expect(attention.scale).toBeCloseTo(32 ** -0.5, 12);
  expect(attention.rope).toMatchObject({ rotary: 32, interleaved: false, magnitude: 1 });
  expect(feedForward.moe).toMatchObject({ experts: 16, router: { selection: { rule: "top-k", k: 2 } } });
  expect(describeExperts(plan)).toEqual({ experts: 16, expertsPerToken: 2 });
});

test("biases and scales are found", () => {
  const [attention, feedForward] = blocksOf(planModel(file), 1);
  expect(attention.q.bias?.name).toBe("blk.1.attn_q.bias");
  expect(attention.output.scale?.name).toBe("blk.1.attn_output.scale");
  expect(attention.output.bias).toBeUndefined();
  expect(feedForward.moe?.table[0]?.spec).toMatchObject({
    down: { scale: { name: "blk.1.ffn_down_exps.scale" } },
  });
});

const key = (name: string, value: number | string | undefined): Changes => ({
  metadata: { [`qwen3moe.${name}`]: value },
});

describe("a header that contradicts itself: bad-model-file", () => {
  test.each<[string, Changes, Record<string, unknown>]>([
    [
      "3 heads for 2 key-value heads",
      {
        ...key("attention.head_count", 3),
        tensors: {
          "attn_q.weight": { shape: [192, 128] },
          "attn_q.bias": { shape: [192] },
          "attn_output.weight": { shape: [128, 192] },
        },
      },
      { heads: 3, kvHeads: 2 },
    ],
    ["no heads", key("attention.head_count", 0), { value: 0 }],
    ["half a head", key("attention.head_count", 1.5), { value: 1.5 }],
    ["more key-value heads than heads", key("attention.head_count_kv", 4), { value: 4, most: 2 }],
    [
      "other heads than the tensor",
      key("attention.head_count", 4),
      { tensor: "blk.0.attn_q.weight", actual: "128,128", expected: "256,128" },
    ],
    [
      "another width than the tensors",
      key("embedding_length", 64),
      { tensor: "token_embd.weight", actual: "128,128", expected: "128,64" },
    ],
    [
      "fewer experts than the tensors",
      key("expert_count", 4),
      { tensor: "blk.0.ffn_gate_inp.weight", actual: "8,128", expected: "4,128" },
    ],
    ["more experts used than there are", key("expert_used_count", 9), { value: 9, most: 8 }],
    ["no expert used", key("expert_used_count", 0), { value: 0 }],
    [
      "another expert width than the tensors",
      key("expert_feed_forward_length", 64),
      { tensor: "blk.0.ffn_gate_exps.weight", actual: "8,128,128", expected: "8,64,128" },
    ],
    ["a layer too many", key("block_count", 3), { tensor: "blk.2.attn_norm.weight" }],
    ["no layers", key("block_count", 0), { value: 0 }],
    ["more layers than memory", key("block_count", 1e9), { value: 1e9 }],
    ["no embedding", { tensors: { "token_embd.weight": undefined } }, { tensor: "token_embd.weight" }],
    ["no norm", { tensors: { "1.ffn_norm.weight": undefined } }, { tensor: "blk.1.ffn_norm.weight" }],
    ["a bias of another length", { tensors: { "attn_k.bias": { shape: [64] } } }, { actual: "64" }],
    ["a scale too many", { tensors: { "attn_q.scale": { shape: [2] } } }, { actual: "2", expected: "1" }],
    ["more rotated than there is of a head", key("rope.dimension_count", 66), { value: 66, most: 64 }],
    ["an odd number rotated", key("rope.dimension_count", 63), { rotary: 63 }],
    ["rope base 0", key("rope.freq_base", 0), { base: 0 }],
    ["an epsilon in words", key("attention.layer_norm_rms_epsilon", "small"), {}],
    ["no epsilon", key("attention.layer_norm_rms_epsilon", undefined), {}],
    ["no context", key("context_length", 0), { value: 0 }],
    ["no architecture", { metadata: { "general.architecture": undefined } }, {}],
  ])("%s", (_, changes, details) => {
    const error = failureOf("bad-model-file", () => prepare(changed(file, changes), {}));
    expect(error.details).toMatchObject(details);
    // Every number of the details is in the sentence as well.
    for (const value of Object.values(details)) expect(error.message).toContain(String(value));
    expect(error.remedy).not.toBe("");
  });

  test("YaRN without the original context", () => {
    const metadata = {
      "qwen3moe.rope.scaling.type": "yarn",
      "qwen3moe.rope.scaling.factor": 4,
      "qwen3moe.rope.scaling.original_context_length": undefined,
    };
    const { message } = failureOf("bad-model-file", () => planModel(changed(file, { metadata })));
    expect(message).toContain("original_context_length");
  });
});

describe("what cannot run: unsupported-model", () => {
  test.each(["mamba", "constructor", "toString", ""])("architecture %j", (architecture) => {
    const metadata = { "general.architecture": architecture };
    const { message } = failureOf("unsupported-model", () => prepare(changed(file, { metadata }), {}));
    expect(message).toContain(architecture);
  });

  test("tensor types without a kernel, each named once, in one message", () => {
    const tensors = {
      "attn_q.weight": { type: "IQ2_S" },
      "1.ffn_up_exps.weight": { type: "IQ1_M" },
    } as const;
    const { message } = failureOf("unsupported-model", () => prepare(changed(file, { tensors }), {}));
    expect(message).toContain(
      "weights of type IQ2_S (tensor blk.0.attn_q.weight; supported: F32, F16, BF16,",
    );
    expect(message).toContain("weights of type IQ1_M (tensor blk.1.ffn_up_exps.weight;");
    expect(message).not.toContain("blk.1.attn_k.weight");
  });

  const plan = planModel(file);
  const [attention, feedForward] = blocksOf(plan, 0);
  const moe = feedForward.moe as MoeSpec;
  const { router, table } = moe;
  const withBlock = (block: Block): ModelPlan => ({ ...plan, layers: [...plan.layers, { blocks: [block] }] });
  const withMoe = (changes: Partial<MoeSpec>) => withBlock({ ...feedForward, moe: { ...moe, ...changes } });
  const withRouter = (changes: Partial<MoeSpec["router"]>) => withMoe({ router: { ...router, ...changes } });
  const expert = table[0] as MoeSpec["table"][number];
  const gated = expert.spec as Extract<typeof expert.spec, { kind: "gated" }>;
  const withSpec = (spec: typeof expert.spec) => withMoe({ table: [{ ...expert, spec }] });
  const tensor = attention.norm.weight;

  test.each<[string, ModelPlan]>([
    ["heads of 6 elements", withBlock({ ...attention, keySize: 6 })],
    ["heads of 10 elements", withBlock({ ...attention, valueSize: 10 })],
    ["zero experts", withBlock({ ...feedForward, moe: undefined, base: { expert: { kind: "zero" } } })],
    ["a router fed from text-token", withRouter({ input: "text-token" })],
    ["a router of 1 layers", withRouter({ logits: { ...router.logits, between: "tanh" } })],
    [
      "cosines behind a router of two layers",
      withRouter({
        logits: {
          ...router.logits,
          layers: [...router.logits.layers, ...router.logits.layers],
          between: "tanh",
          cosine: { centroids: tensor, factor: 1, least: 0 },
        },
      }),
    ],
    [
      "expert-choice selection (an expert takes the tokens that suit it best, later ones too",
      withRouter({ selection: { rule: "expert-choice" } }),
    ],
    [
      "whole-sequence selection (experts are chosen by all tokens together, later ones too",
      withRouter({ selection: { rule: "whole-sequence" } }),
    ],
    [
      "routes known early beside other experts of the layer",
      {
        ...plan,
        layers: [
          {
            blocks: [
              feedForward,
              { ...feedForward, moe: { ...moe, router: { ...router, input: "beside-attention" } } },
            ],
          },
        ],
      },
    ],
    [
      "a mixture of attention with sinks or gates",
      withBlock({
        ...attention,
        sinks: tensor,
        mixture: { experts: 1, gate: { weight: tensor }, sharesKeys: false },
      } as Block),
    ],
    [
      "top-p selection by a sigmoid router",
      withRouter({
        logits: { ...router.logits, gate: "sigmoid" },
        selection: { rule: "top-p", p: 0.9, kMax: 4 },
      }),
    ],
    ["a router with state", withRouter({ state: "hidden" })],
    ["experts of several kinds with pages, or none", withMoe({ table: [expert, expert] })],
    ["experts of several kinds with pages, or none with a page", withSpec({ kind: "zero" })],
    [
      "rows of 48 weights",
      withSpec({ ...gated, up: { weight: { ...gated.up.weight, shape: [8, 64, 48] } } }),
    ],
    [
      "rows of 48 weights",
      withBlock({ ...attention, q: { weight: { ...attention.q.weight, shape: [128, 48] } } }),
    ],
    [
      "not a multiple of 4",
      withBlock({ ...attention, norm: { ...attention.norm, weight: { ...tensor, shape: [6] } } }),
    ],
  ])("%s", (missing, wanting) => {
    expect(failureOf("unsupported-model", () => requireRunnable(wanting)).message).toContain(missing);
  });

  test("and the plan that was changed can run", () => expect(requireRunnable(plan)).toBeUndefined());
});

describe("sizes", () => {
  test("context: asked for, else the model's own, at most 4096", () => {
    expect(prepare(file, {}).sizes.context).toBe(256);
    expect(prepare(file, { contextTokens: 9 }).sizes.context).toBe(9);
    expect(prepare(changed(file, key("context_length", 40_960)), {}).sizes.context).toBe(4096);
    expect(
      prepare(changed(file, key("context_length", 40_960)), { contextTokens: 40_960 }).sizes.context,
    ).toBe(40_960);
    const { details } = failureOf("bad-request", () => prepare(file, { contextTokens: 257 }));
    expect(details).toEqual({ asked: 257, most: 256 });
  });

  test("a budget one byte below what dense weights, cache and one expert of each layer take is refused with both numbers", () => {
    const { denseGroups, sites } = prepare(file, {}).pages;
    const pages = [...denseGroups.flat(), ...sites.flatMap(([first]) => first ?? [])];
    // 2 layers of keys and values, 2 heads of 64 floats each.
    const needed = pages.reduce((sum, { bytes }) => sum + bytes, 0) + 256 * 2 * 2 * 2 * 64 * 4;
    expect(prepare(file, { memory: { gpu: needed } }).sizes.context).toBe(256);
    const { details } = failureOf("out-of-memory", () => prepare(file, { memory: { gpu: needed - 1 } }));
    expect(details).toEqual({ needed, budget: needed - 1 });
  });
});
