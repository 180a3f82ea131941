import { describe, expect, test } from "vitest";
import { planModel } from "../../src/model/archs/index.ts";
import { normalQuantile } from "../../src/model/archs/normal_quantile.ts";
import { prepare } from "../../src/model/load.ts";
import { planPages } from "../../src/model/pages.ts";
import type { ModelPlan, ProductKeyBlock } from "../../src/model/plan.ts";
import { requireRunnable } from "../../src/model/runnable.ts";
import type { ModelFile } from "../../src/source/model_file.ts";
import { specOf } from "../../src/source/spec.ts";
import { MemoryBackend } from "../../src/store/memory.ts";
import { ModelStore } from "../../src/store/model_store.ts";
import { normalBelow } from "../reference/normal.ts";
import { failure } from "../support/engine.ts";
import { type MonetOptions, monetFolder } from "../support/monet_folder.ts";

const vertical: MonetOptions = { decompose: "vertical", heads: 2, keys: 8, dim: 8, topK: 2, groups: 2 };
const horizontal: MonetOptions = { ...vertical, decompose: "horizontal", groups: 3 };

async function headerOf(options: MonetOptions, config: Readonly<Record<string, unknown>> = {}) {
  const { file } = await new ModelStore(new MemoryBackend(0)).open(specOf(monetFolder(options, config)));
  return file;
}

const blocksOf = (plan: ModelPlan) =>
  plan.layers.flatMap(({ blocks }) => blocks.filter((block) => block.kind === "product-key"));

describe("the inverse of the normal distribution", () => {
  test("what others have", () => {
    // NormalDist().inv_cdf of Python 3.
    const known: readonly (readonly [p: number, x: number])[] = [
      [0.75, 0.6744897501960817],
      [0.9375, 1.5341205443525459],
      [0.984375, 2.1538746940614555],
      [0.375, -0.31863936396437514],
      [1 - 8 / 65536, 3.668329285121323],
      [1 - 1 / 65536, 4.169569323349103],
    ];
    for (const [p, x] of known) expect(Math.abs(normalQuantile(p) - x)).toBeLessThan(1e-11);
    expect(normalQuantile(0.5)).toBeCloseTo(0, 15);
    expect([0, 1].map(normalQuantile)).toEqual([Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY]);
  });

  test("it undoes the distribution", () => {
    for (let x = -4; x <= 4; x += 0.125)
      expect(Math.abs(normalQuantile(normalBelow(x)) - x)).toBeLessThan(1e-11);
  });
});

test("routers are in each n-th layer; what is not there is not asked for", async () => {
  const [twos, threes] = [planModel(await headerOf(vertical)), planModel(await headerOf(horizontal))];
  const routers = (plan: ModelPlan) => blocksOf(plan).map(({ router }) => router !== undefined);
  expect(routers(twos)).toEqual([true, false, true, false]);
  expect(routers(threes)).toEqual([true, false, false, true]);
  expect(blocksOf(twos)[0]).toMatchObject({ heads: 2, keys: 8, units: 4, activation: "relu-squared" });
  expect(blocksOf(twos)[0]?.router?.threshold).toBeCloseTo(0.6744897501960817, 12);
  expect(blocksOf(threes)[0]).toMatchObject({ units: 8 });
  for (const plan of [twos, threes]) {
    requireRunnable(plan);
    const { pages, sites } = planPages(plan);
    expect(sites).toEqual([]);
    const names = pages.flatMap(({ parts }) => parts.map(({ tensor }) => tensor));
    expect(names).toHaveLength(new Set(names).size);
  }
});

test("as many keys expected as there are: all are kept", async () => {
  const plan = planModel(await headerOf({ ...vertical, topK: 8 }));
  expect(blocksOf(plan)[0]?.router?.threshold).toBe(Number.NEGATIVE_INFINITY);
});

test("what changes nothing that is computed is taken as it is", async () => {
  const plan = planModel(
    await headerOf(vertical, { pretraining_tp: 2, mlp_bias: true, intermediate_size: 9 }),
  );
  expect(plan).toEqual(planModel(await headerOf(vertical)));
});

test.each([
  ["gelu_accurate", "gelu"],
  ["linear", "linear"],
])("the activation %s", async (hidden_act, activation) => {
  expect(blocksOf(planModel(await headerOf(vertical, { hidden_act })))[0]).toMatchObject({ activation });
});

test("second matrices are quantised on the way to disk where that is asked for, scores and biases are not", async () => {
  const plan = planModel(await headerOf(vertical), "q8_0");
  const [block] = blocksOf(plan) as [ProductKeyBlock];
  expect([...block.up, ...block.down].map(({ weight }) => weight.stored)).toEqual(Array(6).fill("Q8_0"));
  expect(block.router?.scores.map(({ weight }) => weight.stored)).toEqual([undefined, undefined]);
  expect(block.biases.map(({ stored }) => stored)).toEqual([undefined, undefined]);
  requireRunnable(plan);
});

describe("refused by name", () => {
  const missing = (file: ModelFile, change: (plan: ModelPlan) => ModelPlan) =>
    failure("unsupported-model", () => requireRunnable(change(planModel(file))));
  const withBlocks = (plan: ModelPlan, change: (block: ProductKeyBlock, i: number) => ProductKeyBlock) => ({
    ...plan,
    layers: plan.layers.map(({ blocks }, l) => ({
      blocks: blocks.map((block) => (block.kind === "product-key" ? change(block, l) : block)),
    })),
  });

  test.each<[string, Readonly<Record<string, unknown>>, "unsupported-model" | "bad-model-file", RegExp]>([
    ["another decomposition", { moe_decompose: "diagonal" }, "unsupported-model", /moe_decompose "diagonal"/],
    ["another activation", { hidden_act: "mish" }, "unsupported-model", /hidden_act "mish"/],
    ["routers that it does not announce", { moe_groups: 4 }, "unsupported-model", /blk\.2\.key_/],
    ["routers that are not there", { moe_groups: 1 }, "bad-model-file", /blk\.1\.key_\S+ is missing/],
    ["units that cannot be halved", { moe_dim: 7 }, "bad-model-file", /7 hidden elements/],
    ["more keys expected than there are", { moe_topk: 9 }, "bad-model-file", /is 9, not in 1 to 8/],
    ["other heads than the tensors", { moe_heads: 4 }, "bad-model-file", /has shape \[16,64\].*\[32,64\]/],
  ])("%s", async (_, config, code, message) => {
    const file = await headerOf(vertical, config);
    const error = await failure(code, () => prepare(file, {}));
    expect(error.message).toMatch(message);
  });

  test("plans that no kernel runs", async () => {
    const file = await headerOf(vertical);
    const orphan = await missing(file, (plan) =>
      withBlocks(plan, (block, l) => (l === 0 ? { ...block, router: undefined } : block)),
    );
    expect(orphan.message).toMatch(/whose weights no block before them leaves/);
    const other = await missing(file, (plan) =>
      withBlocks(plan, (block, l) => (l === 1 ? { ...block, heads: 3 } : block)),
    );
    expect(other.message).toMatch(/whose weights no block before them leaves/);
    const many = await missing(file, (plan) => withBlocks(plan, (block) => ({ ...block, heads: 1024 })));
    expect(many.message).toMatch(/8192 sums of product keys \(at most 4096\)/);
    const mixed = await missing(file, (plan) =>
      withBlocks(plan, ({ down: [first, ...others], ...block }) => ({
        ...block,
        down: first ? [{ weight: { ...first.weight, type: "BF16" } }, ...others] : [],
      })),
    );
    expect(mixed.message).toMatch(/second matrices of product keys of several types \(BF16, F32\)/);
  });
});
