import { describe, expect, test } from "vitest";
import type { SluiceError, SluiceErrorCode } from "../../src/errors.ts";
import { planModel } from "../../src/model/archs/index.ts";
import { type AttentionBlock, type Block, type FeedForwardBlock, ropeSpecs } from "../../src/model/plan.ts";
import { fileBytes, type TensorType } from "../../src/quant/formats.ts";
import type { ModelFile, TensorInfo } from "../../src/source/model_file.ts";

type Shapes = Readonly<Record<string, readonly number[] | undefined>>;
type Settings = Readonly<Record<string, unknown>>;

const [WIDTH, HEAD, HIDDEN, EXPERTS] = [64, 32, 96, 4];

/** The header of a folder: tensors one after the other. */
function folder(
  config: Settings | string,
  shapes: Shapes,
  types: Readonly<Record<string, TensorType>> = {},
): ModelFile {
  let size = 0;
  const tensors = Object.entries(shapes).flatMap(([name, shape]): TensorInfo[] => {
    if (!shape) return [];
    const type = types[name] ?? "BF16";
    const bytes = fileBytes(
      type,
      shape.reduce((all, n) => all * n, 1),
    );
    size += bytes;
    return [{ name, type, shape, offset: size - bytes, bytes }];
  });
  const text = typeof config === "string" ? config : JSON.stringify(config);
  return {
    format: "safetensors",
    name: "model",
    size,
    files: [],
    metadata: { "config.json": text },
    tensors,
  };
}

/** Two layers of 64, 2 heads of 32, the last of `dense` on with 4 experts of 96. */
const base: Settings = {
  hidden_size: WIDTH,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: HEAD,
  max_position_embeddings: 512,
  intermediate_size: 128,
  moe_intermediate_size: HIDDEN,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: "silu",
  tie_word_embeddings: false,
  num_experts: EXPERTS,
  num_experts_per_tok: 2,
  norm_topk_prob: true,
};

const mlp = (name: string, hidden: number): Shapes => ({
  [`${name}.gate_proj.weight`]: [hidden, WIDTH],
  [`${name}.up_proj.weight`]: [hidden, WIDTH],
  [`${name}.down_proj.weight`]: [WIDTH, hidden],
});

/** A layer's tensors, by their names in it. */
const attention: Shapes = {
  "input_layernorm.weight": [WIDTH],
  "post_attention_layernorm.weight": [WIDTH],
  "self_attn.q_proj.weight": [2 * HEAD, WIDTH],
  "self_attn.k_proj.weight": [HEAD, WIDTH],
  "self_attn.v_proj.weight": [HEAD, WIDTH],
  "self_attn.o_proj.weight": [WIDTH, 2 * HEAD],
};
const headNorms: Shapes = { "self_attn.q_norm.weight": [HEAD], "self_attn.k_norm.weight": [HEAD] };
const experts: Shapes = Object.assign(
  { "mlp.gate.weight": [EXPERTS, WIDTH] },
  ...Array.from({ length: EXPERTS }, (_, e) => mlp(`mlp.experts.${e}`, HIDDEN)),
);
const bias: Shapes = { "mlp.gate.e_score_correction_bias": [EXPERTS] };

function model(...layers: readonly Shapes[]): Shapes {
  const outside = {
    "model.embed_tokens.weight": [100, WIDTH],
    "model.norm.weight": [WIDTH],
    "lm_head.weight": [100, WIDTH],
  };
  const inside = layers.flatMap((layer, l) =>
    Object.entries(layer).map(([name, shape]) => [`model.layers.${l}.${name}`, shape] as const),
  );
  return { ...outside, ...Object.fromEntries(inside) };
}

const qwen: Settings = { ...base, model_type: "qwen3_moe" };
const layer: Shapes = { ...attention, ...headNorms, ...experts };
const sound = model(layer, layer);

const blocksOf = (file: ModelFile, l: number) =>
  planModel(file).layers[l]?.blocks as readonly Block[] as readonly [AttentionBlock, FeedForwardBlock];

function failure(config: Settings | string, shapes: Shapes = sound, types = {}): SluiceError {
  try {
    planModel(folder(config, shapes, types));
  } catch (error) {
    return error as SluiceError;
  }
  throw new Error("nothing failed");
}

test("the model that is made unsound below", () => {
  const plan = planModel(folder(qwen, sound));
  expect(plan).toMatchObject({
    architecture: "qwen3moe",
    name: "model",
    vocabulary: 100,
    contextTokens: 512,
  });
  expect(plan.output).not.toBe(plan.embedding);
});

describe("hostile configurations", () => {
  test.each<[string, Settings | string, SluiceErrorCode, RegExp]>([
    ["not JSON", "{,}", "bad-model-file", /its 3 characters are not JSON/],
    ["a list", "[1]", "bad-model-file", /not a JSON object/],
    ["no model_type", base, "unsupported-model", /model_type "" of model/],
    ["an unknown model_type", { ...base, model_type: "rwkv7" }, "unsupported-model", /model_type "rwkv7"/],
    ["a model_type of the prototype", { ...base, model_type: "toString" }, "unsupported-model", /"toString"/],
    [
      "a model_type that is no text",
      { ...base, model_type: 3 },
      "bad-model-file",
      /model_type is 3, not a text/,
    ],
    ["no width", { ...qwen, hidden_size: undefined }, "bad-model-file", /hidden_size is missing/],
    ["no layers", { ...qwen, num_hidden_layers: null }, "bad-model-file", /num_hidden_layers is missing/],
    [
      "a width as text",
      { ...qwen, hidden_size: "64" },
      "bad-model-file",
      /hidden_size is "64", not a number/,
    ],
    ["a flag that is a number", { ...qwen, norm_topk_prob: 1 }, "unsupported-model", /norm_topk_prob 1/],
    [
      "a tie that is a number",
      { ...qwen, tie_word_embeddings: 1 },
      "bad-model-file",
      /tie_word_embeddings is 1/,
    ],
    ["a rope that is a list", { ...qwen, rope_scaling: [1] }, "bad-model-file", /is \[1\], not an object/],
    ["an absurd width", { ...qwen, hidden_size: 2 ** 40 }, "bad-model-file", /1099511627776, not in 1 to/],
    ["half a layer", { ...qwen, num_hidden_layers: 1.5 }, "bad-model-file", /1\.5/],
    [
      "fewer layers than tensors",
      { ...qwen, num_hidden_layers: 1 },
      "bad-model-file",
      /says 1 layers.*layers\.1\./,
    ],
    [
      "more layers than tensors",
      { ...qwen, num_hidden_layers: 3 },
      "bad-model-file",
      /blk\.2\..* is missing/,
    ],
    ["another width", { ...qwen, hidden_size: 128 }, "bad-model-file", /\[100,64\].*\[100,128\]/],
    ["more experts than tensors", { ...qwen, num_experts: 9 }, "bad-model-file", /\[4,64\].*\[9,64\]/],
    [
      "more experts a token than experts",
      { ...qwen, num_experts_per_tok: 5 },
      "bad-model-file",
      /5, not in 1 to 4/,
    ],
    [
      "weights that are not renormalised",
      { ...qwen, norm_topk_prob: false },
      "unsupported-model",
      /norm_topk_prob false/,
    ],
    [
      "experts in every second layer",
      { ...qwen, decoder_sparse_step: 2 },
      "unsupported-model",
      /decoder_sparse_step 2/,
    ],
    ["dense layers", { ...qwen, mlp_only_layers: [0] }, "unsupported-model", /mlp_only_layers \[0\]/],
    ["windows", { ...qwen, use_sliding_window: true }, "unsupported-model", /use_sliding_window true/],
    ["another activation", { ...qwen, hidden_act: "gelu" }, "unsupported-model", /hidden_act "gelu"/],
    ["another routing", { ...qwen, scoring_func: "cosine" }, "unsupported-model", /scoring_func cosine/],
    [
      "a llama3 rope of absurd heads",
      { ...qwen, head_dim: 2 ** 40, rope_scaling: { type: "llama3" } },
      "bad-model-file",
      /1099511627776 elements to rotate, .* up to 4096/,
    ],
    ["an unknown rope", { ...qwen, rope_scaling: { type: "ntk" } }, "unsupported-model", /ntk scaling/],
    [
      "a rope without its factor",
      { ...qwen, rope_scaling: { type: "linear" } },
      "bad-model-file",
      /factor is missing/,
    ],
  ])("%s", (_, config, code, message) => {
    const error = failure(config);
    expect(error).toMatchObject({ code, message });
    expect(error.remedy).not.toBe("");
  });
});

describe("tensors that do not fit the configuration", () => {
  const expert = "model.layers.1.mlp.experts.2.up_proj.weight";

  test.each<[string, Shapes, SluiceErrorCode, RegExp]>([
    [
      "an expert without a matrix",
      { ...sound, [expert]: undefined },
      "bad-model-file",
      /3 experts.*not expert 2/,
    ],
    [
      "an expert of another shape",
      { ...sound, [expert]: [HIDDEN + 1, WIDTH] },
      "bad-model-file",
      /\[97,64\].*\[96,64\]/,
    ],
    [
      "one expert too many",
      { ...sound, ...mlp("model.layers.1.mlp.experts.4", HIDDEN) },
      "bad-model-file",
      /\[5,96,64\].*\[4,96,64\]/,
    ],
    [
      "a number of an expert beyond all",
      { ...sound, ...mlp("model.layers.1.mlp.experts.4000000000", HIDDEN) },
      "bad-model-file",
      /5 experts have .*, but not expert 4$/,
    ],
    ["no output", { ...sound, "lm_head.weight": undefined }, "bad-model-file", /no lm_head.weight/],
    [
      "a tensor nobody knows",
      { ...sound, "model.layers.0.self_attn.gate.weight": [2] },
      "unsupported-model",
      /self_attn\.gate/,
    ],
    [
      "a tensor its family does not have",
      { ...sound, ...Object.fromEntries(Object.entries(mlp("model.layers.0.mlp.shared_expert", 8))) },
      "unsupported-model",
      /ffn_gate_shexp/,
    ],
    [
      "the same by two names",
      { ...sound, "model.layers.0.mlp.experts.gate_up_proj": [EXPERTS, 2 * HIDDEN, WIDTH] },
      "bad-model-file",
      /ffn_gate_exps/,
    ],
    [
      "two matrices in an odd number of rows",
      { ...sound, "model.layers.0.mlp.experts.gate_up_proj": [EXPERTS, 2 * HIDDEN + 1, WIDTH] },
      "bad-model-file",
      /\[4,193,64\] holds two matrices/,
    ],
  ])("%s", (_, shapes, code, message) => {
    expect(failure(qwen, shapes)).toMatchObject({ code, message });
  });

  test("an expert of another type", () => {
    expect(failure(qwen, sound, { [expert]: "F32" })).toMatchObject({
      code: "bad-model-file",
      message: /expert 2 is F32 \[96,64\], of another BF16 \[96,64\]/,
    });
  });
});

test("a tied output is the embedding, also where the file has one", () => {
  const plan = planModel(folder({ ...qwen, tie_word_embeddings: true }, sound));
  expect(plan.output).toBe(plan.embedding);
});

describe("ropes", () => {
  const ropeOf = (more: Settings) => ropeSpecs(planModel(folder({ ...qwen, ...more }, sound)))[0];
  const plain = ropeOf({})?.frequencies ?? [];

  test("rope_parameters is the newer rope_scaling, with the base in it", () => {
    const older = ropeOf({ rope_theta: 5e5, rope_scaling: { type: "linear", factor: 4 } });
    const newer = {
      rope_theta: undefined,
      rope_parameters: { rope_type: "linear", factor: 4, rope_theta: 5e5 },
    };
    expect(ropeOf(newer)).toEqual(older);
    expect(older?.frequencies[0]).toBe(0.25);
  });

  test("YaRN: attention_factor is all that cos and sin grow by", () => {
    const yarn = { type: "yarn", factor: 8, original_max_position_embeddings: 64 };
    expect(ropeOf({ rope_scaling: yarn })?.magnitude).toBeCloseTo(1 + 0.1 * Math.log(8), 12);
    expect(ropeOf({ rope_scaling: { ...yarn, attention_factor: 1.25 } })?.magnitude).toBeCloseTo(1.25, 12);
    const shares = { mscale: 0.5, mscale_all_dim: 1 };
    const [half, whole] = [0.5, 1].map((share) => 1 + 0.1 * share * Math.log(8)) as [number, number];
    expect(ropeOf({ rope_scaling: { ...yarn, ...shares } })?.magnitude).toBeCloseTo(half / whole, 12);
  });

  test("llama3: short waves stay, long ones are divided, between them a smooth change", () => {
    const scaling = { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4 };
    const rope = ropeOf({ rope_scaling: { ...scaling, original_max_position_embeddings: 512 } });
    const ratios = plain.map((frequency, i) => frequency / (rope?.frequencies[i] ?? 0));
    // Turns in 512 positions: at least 4, at most 1.
    expect(ratios[0]).toBe(1);
    expect(ratios.at(-1)).toBeCloseTo(8, 12);
    expect(ratios.every((ratio, i) => ratio >= (ratios[i - 1] ?? 1))).toBe(true);
    const between = plain.findIndex((f) => (512 * f) / (2 * Math.PI) < 4 && (512 * f) / (2 * Math.PI) > 1);
    const turns = (512 * (plain[between] as number)) / (2 * Math.PI);
    const smooth = (turns - 1) / 3;
    expect(ratios[between]).toBeCloseTo(1 / ((1 - smooth) / 8 + smooth), 12);
  });
});

describe("families without a model to compare with", () => {
  const sharedExperts = mlp("mlp.shared_experts", HIDDEN);
  const denseFirst = (first: Shapes, rest: Shapes, ...more: readonly Shapes[]) => model(first, rest, ...more);
  const shared: Settings = {
    n_routed_experts: EXPERTS,
    num_experts: undefined,
    n_shared_experts: 1,
    first_k_dense_replace: 1,
  };
  const sigmoid = { logits: { gate: "sigmoid", selectionBias: { name: "blk.1.exp_probs_b.bias" } } };

  test("dots1", () => {
    const dense = { ...attention, ...headNorms, ...mlp("mlp", 128) };
    const sparse = { ...attention, ...headNorms, ...experts, ...bias, ...sharedExperts };
    const config = {
      ...base,
      ...shared,
      model_type: "dots1",
      scoring_func: "noaux_tc",
      routed_scaling_factor: 2.5,
    };
    const file = folder(config, denseFirst(dense, sparse));
    expect(blocksOf(file, 0)[1].moe).toBeUndefined();
    expect(blocksOf(file, 1)[1].moe?.router).toMatchObject({
      ...sigmoid,
      weights: { rule: "renormalise", scale: 2.5 },
    });
  });

  test("glm4_moe: a layer that guesses is left out", () => {
    const biases = {
      "self_attn.q_proj.bias": [2 * HEAD],
      "self_attn.k_proj.bias": [HEAD],
      "self_attn.v_proj.bias": [HEAD],
    };
    const dense = { ...attention, ...biases, ...mlp("mlp", 128) };
    const sparse = { ...attention, ...biases, ...experts, ...bias, ...sharedExperts };
    const config = { ...base, ...shared, model_type: "glm4_moe", partial_rotary_factor: 0.5 };
    const file = folder(
      config,
      denseFirst(dense, sparse, { ...sparse, "eh_proj.weight": [WIDTH, 2 * WIDTH] }),
    );
    expect(planModel(file).layers).toHaveLength(2);
    expect(blocksOf(file, 1)[0]).toMatchObject({ rope: { rotary: HEAD / 2, interleaved: false } });
    expect(blocksOf(file, 1)[1].moe?.router).toMatchObject(sigmoid);
  });

  test("minimax_m2", () => {
    const rename = (name: string) =>
      name
        .replace("mlp.", "block_sparse_moe.")
        .replace("gate_proj", "w1")
        .replace("up_proj", "w3")
        .replace("down_proj", "w2")
        .replace("gate.e_score", "e_score");
    const sparse = Object.fromEntries(
      Object.entries({ ...experts, ...bias }).map(([name, shape]) => [rename(name), shape]),
    );
    const norms = { "self_attn.q_norm.weight": [2 * HEAD], "self_attn.k_norm.weight": [HEAD] };
    const one = { ...attention, ...norms, ...sparse };
    const sizes = {
      moe_intermediate_size: undefined,
      intermediate_size: HIDDEN,
      rotary_dim: 16,
      use_qk_norm: true,
    };
    const config = {
      ...base,
      ...sizes,
      num_local_experts: EXPERTS,
      num_experts: undefined,
      scoring_func: "sigmoid",
    };
    const file = folder({ ...config, model_type: "minimax_m2" }, model(one, one));
    expect(blocksOf(file, 1)[0]).toMatchObject({
      rope: { rotary: 16 },
      qNorm: { weight: { shape: [2 * HEAD] } },
    });
    expect(blocksOf(file, 1)[1].moe?.router).toMatchObject(sigmoid);
  });

  test("bailing_moe_v2", () => {
    const norms = { "attention.query_layernorm.weight": [HEAD], "attention.key_layernorm.weight": [HEAD] };
    const own = {
      ...norms,
      "input_layernorm.weight": [WIDTH],
      "post_attention_layernorm.weight": [WIDTH],
      "attention.query_key_value.weight": [4 * HEAD, WIDTH],
      "attention.dense.weight": [WIDTH, 2 * HEAD],
    };
    const sparse = { ...own, ...experts, ...sharedExperts, "mlp.gate.expert_bias": [EXPERTS] };
    const { "model.embed_tokens.weight": embedding, ...others } = denseFirst(
      { ...own, ...mlp("mlp", 128) },
      sparse,
    );
    const config = { ...base, num_shared_experts: 1, first_k_dense_replace: 1, n_group: 2, topk_group: 1 };
    const file = folder(
      { ...config, model_type: "bailing_moe_v2", score_function: "sigmoid", use_qk_norm: true },
      { ...others, "model.word_embeddings.weight": embedding },
    );
    expect(blocksOf(file, 1)[0].rope?.rotary).toBe(HEAD / 2);
    expect(blocksOf(file, 1)[1].moe?.router).toMatchObject({
      ...sigmoid,
      selection: { rule: "group-limited", groups: 2 },
    });
  });

  test("deepseek_v2: without groups", () => {
    const latent = {
      "input_layernorm.weight": [WIDTH],
      "post_attention_layernorm.weight": [WIDTH],
      "self_attn.q_proj.weight": [2 * 24, WIDTH],
      "self_attn.kv_a_proj_with_mqa.weight": [40, WIDTH],
      "self_attn.kv_a_layernorm.weight": [32],
      "self_attn.kv_b_proj.weight": [2 * 32, 32],
      "self_attn.o_proj.weight": [WIDTH, 2 * 16],
    };
    const sizes = {
      head_dim: undefined,
      kv_lora_rank: 32,
      qk_nope_head_dim: 16,
      qk_rope_head_dim: 8,
      v_head_dim: 16,
    };
    const yarn = {
      type: "yarn",
      factor: 40,
      original_max_position_embeddings: 64,
      mscale: 0.75,
      mscale_all_dim: 0.75,
    };
    const config = {
      ...base,
      ...shared,
      ...sizes,
      model_type: "deepseek_v2",
      rope_scaling: yarn,
      norm_topk_prob: false,
    };
    const shapes = denseFirst({ ...latent, ...mlp("mlp", 128) }, { ...latent, ...experts, ...sharedExperts });
    const [block] = planModel(folder(config, shapes)).layers[1]?.blocks ?? [];
    const grown = 1 + 0.1 * 0.75 * Math.log(40);
    expect(block).toMatchObject({ kind: "latent-attention", rope: { magnitude: 1, rotary: 8 } });
    expect((block as { scale?: number }).scale).toBeCloseTo(grown ** 2 / Math.sqrt(24), 9);
    expect(failure({ ...config, n_group: 8 }, shapes)).toMatchObject({
      code: "unsupported-model",
      message: /n_group 8/,
    });
    const uneven = { ...config, rope_scaling: { ...yarn, mscale: 1 } };
    expect(failure(uneven, shapes)).toMatchObject({ code: "unsupported-model", message: /mscale 1/ });
  });
});

describe("families of papers", () => {
  const { "input_layernorm.weight": norm, "post_attention_layernorm.weight": _, ...matrices } = attention;
  const projections = {
    ...matrices,
    "self_attn.k_proj.weight": [2 * HEAD, WIDTH],
    "self_attn.v_proj.weight": [2 * HEAD, WIDTH],
  };
  const own: Shapes = { ...projections, "input_norm.weight": norm, "post_attention_norm.weight": norm };
  const { "mlp.gate.weight": router, ...matricesOfExperts } = experts;
  const dynamicShapes = model(
    { ...own, "mlp.router.weight": router, ...matricesOfExperts },
    { ...own, ...mlp("mlp.mlp", HIDDEN) },
  );
  const dynamic: Settings = {
    ...{ ...base, model_type: "llama", architectures: ["MoEForCausalLM"], intermediate_size: HIDDEN },
    ...{ moe_intermediate_size: undefined, norm_topk_prob: undefined, num_experts_per_tok: undefined },
    ...{ expert_frequency: 2, experts_topk: 1, top_p_threshold: 0.4 },
  };

  test("dynamic routing: top-p as it is, in the first of two layers; heads and rope as its code has them", () => {
    const scaling = { type: "linear", factor: 2 };
    const unread = { rope_theta: 5e5, rope_scaling: scaling, pretraining_tp: 2, hidden_act: "gelu" };
    const file = folder({ ...dynamic, ...unread }, dynamicShapes);
    const [attends, routes] = blocksOf(file, 0);
    expect(routes.moe?.router).toMatchObject({
      logits: { gate: "softmax" },
      selection: { rule: "top-p", p: 0.4, kMax: EXPERTS },
      weights: { rule: "raw", scale: 1 },
    });
    expect(attends.kvHeads).toBe(2);
    expect(attends.rope).toEqual(blocksOf(folder(dynamic, dynamicShapes), 0)[0].rope);
    const [, dense] = blocksOf(file, 1);
    expect(dense.moe).toBeUndefined();
    for (const spec of [routes.moe?.table[0]?.spec, dense.base?.expert])
      expect(spec).toMatchObject({ activation: "gelu-erf" });
  });

  test.each<[string, Settings, SluiceErrorCode, RegExp]>([
    [
      "its tensors, said to be a Llama's",
      { architectures: ["LlamaForCausalLM"] },
      "unsupported-model",
      /input_norm/,
    ],
    ["no p", { top_p_threshold: undefined }, "bad-model-file", /top_p_threshold is missing/],
    ["p below 0", { top_p_threshold: -1 }, "bad-model-file", /-1, below 0/],
    ["sparse in every 0th layer", { expert_frequency: 0 }, "bad-model-file", /is 0, not in 1 to/],
    ["another activation", { hidden_act: "mish" }, "unsupported-model", /hidden_act "mish"/],
  ])("dynamic routing: %s", (_, changes, code, message) => {
    expect(failure({ ...dynamic, ...changes }, dynamicShapes)).toMatchObject({ code, message });
  });

  test.each([false, true])("Apollo-MoE: experts where its tensors are; shared experts: %s", (isShared) => {
    const dense = { ...attention, ...mlp("mlp", 128) };
    const wide = Array.from({ length: EXPERTS }, (_, e) => mlp(`mlp.experts.${e}`, 128));
    const shared = { ...mlp("mlp.shared_expert", 128), "mlp.shared_expert_gate.weight": [1, WIDTH] };
    const sparse = Object.assign(
      { ...attention, "mlp.gate.weight": router },
      ...wide,
      isShared ? shared : {},
    );
    const config = {
      ...{ ...base, model_type: "upcycling-qwen2-moe", num_hidden_layers: 4, share_flag: isShared },
      ...{ mlp_only_layers: [3], shared_expert_intermediate_size: 8, norm_topk_prob: false },
    };
    const file = folder(config, model(dense, dense, sparse, sparse));
    expect(planModel(file).layers.map(({ blocks }) => "moe" in (blocks[1] as Block))).toEqual([
      ...[false, false, true, true],
    ]);
    const [, { moe, base: always }] = blocksOf(file, 2);
    expect(moe?.router).toMatchObject({ selection: { rule: "top-k", k: 2 }, weights: { rule: "raw" } });
    expect(always?.gate !== undefined).toBe(isShared);
    const other = folder({ ...config, share_flag: !isShared }, model(dense, dense, sparse, sparse));
    expect(() => planModel(other)).toThrow(/shexp/);

    const unread = {
      ...{ rope_scaling: { type: "linear", factor: 2 }, use_sliding_window: true, decoder_sparse_step: 2 },
      ...{ hidden_act: "gelu_new", norm_topk_prob: true },
    };
    const variant = folder({ ...config, ...unread }, model(sparse, dense, dense, sparse));
    const kinds = planModel(variant).layers.map(({ blocks }) => "moe" in (blocks[1] as Block));
    expect(kinds).toEqual([true, false, false, true]);
    const [{ rope }, block] = blocksOf(variant, 0);
    expect(rope).toEqual(blocksOf(file, 0)[0].rope);
    expect(block.moe?.router.weights.rule).toBe("renormalise");
    for (const spec of [block.moe?.table[0]?.spec, blocksOf(variant, 1)[1].base?.expert])
      expect(spec).toMatchObject({ activation: "gelu" });
    const windowed = { ...config, use_sliding_window: true, sliding_window: 511 };
    expect(failure(windowed, model(dense, dense, sparse, sparse))).toMatchObject({
      code: "unsupported-model",
      message: /use_sliding_window true/,
    });
  });
});
