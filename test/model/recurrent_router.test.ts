import { describe, expect, test } from "vitest";
import type { SluiceError } from "../../src/errors.ts";
import { planModel } from "../../src/model/archs/index.ts";
import { prepare } from "../../src/model/load.ts";
import { planPages } from "../../src/model/pages.ts";
import { recurrentCells } from "../../src/model/plan.ts";
import { requireRunnable } from "../../src/model/runnable.ts";
import { moeBlocks } from "../../src/model/state.ts";
import { specOf } from "../../src/source/spec.ts";
import { MemoryBackend } from "../../src/store/memory.ts";
import { ModelStore } from "../../src/store/model_store.ts";
import { smallModel } from "../support/engine.ts";
import { type RmoeOptions, rmoeFolder } from "../support/rmoe_folder.ts";
import { headerOf } from "./plan_file.ts";

const gru: RmoeOptions = { cell: "gru" };

async function headerOfFolder(options: RmoeOptions, config: Readonly<Record<string, unknown>> = {}) {
  const { file } = await new ModelStore(new MemoryBackend(0)).open(specOf(rmoeFolder(options, config)));
  return file;
}

test("all layers have one cell, whose tensors lie in a page of their own, once", async () => {
  const plan = planModel(await headerOfFolder({ ...gru, bias: true }));
  requireRunnable(plan);
  expect(recurrentCells(plan)).toHaveLength(1);
  const { denseGroups, pages } = planPages(plan);
  const names = pages.flatMap(({ parts }) => parts.map(({ tensor }) => tensor));
  const dense = names.filter((name) => !name.includes("_exps"));
  expect(dense).toHaveLength(new Set(dense).size);
  expect(denseGroups[1]?.flatMap(({ parts }) => parts.map(({ tensor }) => tensor))).toEqual(
    ["i", "h"].flatMap((of) =>
      ["r", "z", "n"].flatMap((gate) => [`router_${of}${gate}.weight`, `router_${of}${gate}.bias`]),
    ),
  );
  const [group, like] = denseGroups
    .slice(2, 4)
    .map((pages) => pages.flatMap(({ parts }) => parts.map(({ offset }) => offset)));
  expect(group).toEqual(like);
});

test("a cell for each layer has no kernel", async () => {
  const plan = planModel(await headerOfFolder(gru));
  const layers = plan.layers.map((layer) => structuredClone(layer));
  expect(() => requireRunnable({ ...plan, layers })).toThrow(/several recurrent cells/);
});

test("weights of the routed and the shared experts count only where both are there", async () => {
  const scales = async (options: RmoeOptions) =>
    moeBlocks(planModel(await headerOfFolder(options))).map(({ scale = 1, moe }) => [
      scale,
      scale * moe.router.weights.scale,
    ]);
  expect(await scales(gru)).toEqual([
    [1, 1],
    [1, 1],
    [1, 1],
  ]);
  for (const [share, routed] of await scales({ ...gru, shared: { routed: 0.3, shared: 0.8 } })) {
    expect(share).toBe(0.8);
    expect(routed).toBeCloseTo(0.3, 12);
  }
});

test("such routers are not asked early, whoever wants it; others are", async () => {
  const file = await headerOfFolder(gru);
  expect(prepare(file, {}).sizes.lookahead).toBe(0);
  expect(prepare(file, { experts: { predictor: "next-gate", trace: true } }).sizes).toMatchObject({
    lookahead: 0,
    isTraced: true,
  });
  expect(prepare(await headerOf(smallModel()), {}).sizes.lookahead).toBeGreaterThan(0);
});

test("matrices split for several devices are the same matrices", async () => {
  const plan = planModel(await headerOfFolder({ ...gru, isGelu: true }, { pretraining_tp: 2 }));
  expect(plan).toEqual(planModel(await headerOfFolder({ ...gru, isGelu: true })));
});

test("any other router than a cell is one matrix, and is asked early", async () => {
  for (const type of ["linear", null]) {
    const file = await headerOfFolder({ cell: "none" }, { moe_router_type: type });
    const [site] = moeBlocks(planModel(file));
    expect(site?.moe.router).toMatchObject({ selection: { rule: "top-k", k: 2 }, state: undefined });
    expect(site?.moe.router.logits.layers).toHaveLength(1);
    expect(prepare(file, {}).sizes.lookahead).toBeGreaterThan(0);
  }
});

describe("refused by name", () => {
  test.each<[string, RmoeOptions, Readonly<Record<string, unknown>>, RegExp]>([
    ["dense layers first", gru, { moe_num_layers: 2 }, /moe_num_layers 2/],
    [
      "split matrices, whose biases their code leaves out",
      { ...gru, attentionBias: true },
      { pretraining_tp: 2 },
      /pretraining_tp 2/,
    ],
    ["another activation", gru, { hidden_act: "mish" }, /hidden_act "mish"/],
    [
      "a shared expert that counts for nothing",
      { ...gru, shared: { routed: 1, shared: 0 } },
      {},
      /moe_weight 1 and share_weight 0/,
    ],
    ["a bias that is not announced", { ...gru, bias: true }, { add_moe_bias: false }, /ffn_sum\.bias/],
    ["more of a cell than it uses", gru, { moe_router_type: "rnn" }, /router_ir/],
  ])("%s", async (_, options, config, message) => {
    const file = await headerOfFolder(options, config);
    let error: SluiceError | undefined;
    try {
      planModel(file);
    } catch (reason) {
      error = reason as SluiceError;
    }
    expect(error).toMatchObject({ code: "unsupported-model" });
    expect(error?.message).toMatch(message);
  });

  test("a router of another kind than its tensors", async () => {
    const cell = await headerOfFolder(gru, { moe_router_type: "linear" });
    expect(() => planModel(cell)).toThrow(/ffn_gate_inp\.weight is missing/);
    const plain = await headerOfFolder({ cell: "none" }, { moe_router_type: "rnn" });
    expect(() => planModel(plain)).toThrow(/router_in\.weight is missing/);
  });

  test("a cell that is not what its state says: both shapes", async () => {
    const file = await headerOfFolder(gru, { moe_router_rnn_hidden_size: 64 });
    expect(() => planModel(file)).toThrow(/\[32,32\], but the metadata asks for \[64,64\]/);
  });
});
