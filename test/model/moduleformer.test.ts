import { describe, expect, test } from "vitest";
import type { SluiceError } from "../../src/errors.ts";
import { planModel } from "../../src/model/archs/index.ts";
import { prepare } from "../../src/model/load.ts";
import { planPages } from "../../src/model/pages.ts";
import { type Block, moeOf } from "../../src/model/plan.ts";
import { requireRunnable } from "../../src/model/runnable.ts";
import { specOf } from "../../src/source/spec.ts";
import { MemoryBackend } from "../../src/store/memory.ts";
import { ModelStore } from "../../src/store/model_store.ts";
import { failure } from "../support/engine.ts";
import {
  type ModuleFormerOptions,
  moduleFormerFolder,
  plainModules,
} from "../support/moduleformer_folder.ts";

async function headerOf(options: ModuleFormerOptions, config: Readonly<Record<string, unknown>> = {}) {
  const folder = moduleFormerFolder(options, config);
  const { file } = await new ModelStore(new MemoryBackend(0)).open(specOf(folder));
  return file;
}

const plan = async (options: Partial<ModuleFormerOptions>, config: Readonly<Record<string, unknown>> = {}) =>
  planModel(await headerOf({ ...plainModules, ...options }, config));

test("a page for each expert of both blocks, query and output matrices in one", async () => {
  const model = await plan({});
  requireRunnable(model);
  const { sites } = planPages(model);
  expect(sites.map((site) => site.length)).toEqual([6, 8, 6, 8]);
  const parts = sites[2]?.[4]?.parts ?? [];
  expect(sites[2]?.[4]?.label).toBe("layer 1 attention expert 4");
  expect(parts.map(({ tensor, rows, cols }) => [tensor, rows, cols])).toEqual([
    ["blk.1.attn_q_exps.weight", 96, 64],
    ["blk.1.attn_output_exps.weight", 64, 96],
  ]);
});

test("what a configuration leaves out is as the authors' class has it", async () => {
  const names = ["gate_type", "activation_function", "k_att", "k_mlp", "tie_word_embeddings"];
  const left = Object.fromEntries(names.map((name) => [name, null]));
  const model = await plan({ topK: { attention: 2, mlp: 2 } }, left);
  const [attention, mlp] = (model.layers[0]?.blocks ?? []).map(moeOf);
  for (const site of [attention, mlp]) {
    expect(site?.router).toMatchObject({ selection: { rule: "top-k", k: 2 }, weights: { rule: "raw" } });
    expect(site?.router.logits).toMatchObject({ between: "gelu-erf" });
  }
  expect(mlp?.table[0]?.spec).toMatchObject({ kind: "two-matrix", activation: "gelu" });
  expect(model.finalNorm).toMatchObject({ kind: "layer", epsilon: 1e-5 });
});

test("only linear routers are asked early", async () => {
  const lookahead = async (gate: ModuleFormerOptions["gate"]) =>
    prepare(await headerOf({ ...plainModules, gate }), {}).sizes.lookahead;
  expect(await lookahead("linear")).toBeGreaterThan(0);
  expect([await lookahead("mlp"), await lookahead("gmm")]).toEqual([0, 0]);
});

test("what the authors' code does not read is not looked at", async () => {
  const config = { hidden_act: "mish", layer_norm_epsilon: 1, sample_topk: 2, aux_loss_type: "switch" };
  expect(await plan({}, config)).toEqual(await plan({}));
});

test("more choices of attention than a workgroup has room for are refused", async () => {
  const model = await plan({});
  const layers = model.layers.map(({ blocks }) => ({
    blocks: blocks.map((block): Block => {
      if (block.kind !== "expert-attention") return block;
      const selection = { rule: "top-k", k: 2048 } as const;
      return { ...block, moe: { ...block.moe, router: { ...block.moe.router, selection } } };
    }),
  }));
  const error = await failure("unsupported-model", () => requireRunnable({ ...model, layers }));
  expect(error.message).toMatch(/2048 experts of attention for a token \(below 2048\)/);
});

describe("refused", () => {
  test.each<[string, Readonly<Record<string, unknown>>, SluiceError["code"], RegExp]>([
    ["another router", { gate_type: "hash" }, "unsupported-model", /gate_type hash/],
    ["another function", { activation_function: "mish" }, "unsupported-model", /activation_function mish/],
    ["more choices than experts", { k_att: 7 }, "bad-model-file", /expert_used_count is 7, not in 1 to 6/],
    ["heads that do not fit", { n_head: 5 }, "bad-model-file", /att_hidden is 96, which n_head 5/],
    ["a router of another kind", { gate_type: "gmm" }, "bad-model-file", /attn_gate_inp\.weight is missing/],
    ["sizes that are not the tensors'", { ffd_hidden: 64 }, "bad-model-file", /\[8,96,64\].*\[8,64,64\]/],
  ])("%s", async (_, config, code, message) => {
    const file = await headerOf(plainModules, config);
    let error: SluiceError | undefined;
    try {
      planModel(file);
    } catch (reason) {
      error = reason as SluiceError;
    }
    expect(error).toMatchObject({ code });
    expect(error?.message).toMatch(message);
  });
});
