import { describe, expect, test } from "vitest";
import type { SluiceError } from "../../src/errors.ts";
import { planModel } from "../../src/model/archs/index.ts";
import { prepare } from "../../src/model/load.ts";
import type { MoeSpec } from "../../src/model/moe_plan.ts";
import { planPages } from "../../src/model/pages.ts";
import type { ModelPlan } from "../../src/model/plan.ts";
import { requireRunnable } from "../../src/model/runnable.ts";
import { moeSites } from "../../src/model/state.ts";
import type { ModelFile } from "../../src/source/model_file.ts";
import { specOf } from "../../src/source/spec.ts";
import { MemoryBackend } from "../../src/store/memory.ts";
import { ModelStore } from "../../src/store/model_store.ts";
import { adamoeFolder } from "../support/adamoe_folder.ts";
import { type MoePlusPlusOptions, moePlusPlusFolder } from "../support/moe_plus_plus_folder.ts";

const plain: MoePlusPlusOptions = { experts: 7, layers: 2 };

async function headerOf(folder: readonly File[]): Promise<ModelFile> {
  const { file } = await new ModelStore(new MemoryBackend(0)).open(specOf(folder));
  return file;
}
const headerOfMoe = (options: MoePlusPlusOptions, config = {}) =>
  headerOf(moePlusPlusFolder(options, config));

async function planned(folder: readonly File[]): Promise<ModelPlan> {
  const plan = planModel(await headerOf(folder));
  requireRunnable(plan);
  return plan;
}

const kinds = ({ table }: MoeSpec) => table.map(({ first, count, spec }) => [first, count, spec.kind]);

test("MoE++: only gated experts have pages; small matrices, constants and maps lie in dense pages, once", async () => {
  const plan = await planned(moePlusPlusFolder(plain));
  const { denseGroups, sites, pages } = planPages(plan);
  for (const site of sites)
    expect(site.map((page) => page !== undefined)).toEqual([
      ...[true, true, true],
      ...[false, false, false, false],
    ]);
  const names = denseGroups.flat().flatMap(({ parts }) => parts.map(({ tensor }) => tensor));
  expect(names).toHaveLength(new Set(names).size);
  expect(names.filter((name) => name.startsWith("blk.1.ffn_")).toSorted()).toEqual(
    [
      "constant_3",
      "constant_4",
      "constant_gate_3",
      "constant_gate_4",
      "norm",
      "router_in",
      "router_map",
      "router_out",
    ].map((name) => `blk.1.ffn_${name}.weight`),
  );
  // The first layer's map has nothing to map.
  expect(names.some((name) => name.startsWith("blk.0.ffn_router_map"))).toBe(false);
  expect(pages.map(({ index }) => index)).toEqual(pages.map((_, i) => i));
  expect(kinds(moeSites(plan)[0] as MoeSpec)).toEqual([
    [0, 3, "gated"],
    [3, 1, "constant"],
    [4, 1, "constant"],
    [5, 1, "copy"],
    [6, 1, "zero"],
  ]);
});

test("MoE++: what doubles inputs, drops the zero expert and changes logits", async () => {
  const of = async (options: Partial<MoePlusPlusOptions>) => {
    const [, site] = moeSites(await planned(moePlusPlusFolder({ ...plain, ...options })));
    const { router, inputScale } = site as MoeSpec;
    const { between, deviation } = router.logits;
    return { inputScale, dropsZeros: router.weights.dropsZeros, deviation, between };
  };
  expect(await of({})).toMatchObject({ inputScale: 2, dropsZeros: true, between: "tanh" });
  expect(await of({ layers: 1 })).toMatchObject({ inputScale: 2, dropsZeros: true });
  expect((await of({ layers: 1 })).between).toBeUndefined();
  expect((await of({ isPlainInput: true })).inputScale).toBeUndefined();
  const mixtral = await of({ isMixtral: true, deviation: 2 });
  expect(mixtral).toMatchObject({ dropsZeros: false, deviation: 2 });
  expect(mixtral.inputScale).toBeUndefined();
});

test("AdaMoE: null experts behind the others, k from the configuration and their number from the tensor", async () => {
  const [site] = moeSites(await planned(adamoeFolder()));
  expect(kinds(site as MoeSpec)).toEqual([
    [0, 4, "gated"],
    [4, 4, "zero"],
  ]);
  expect(site?.router.selection).toEqual({ rule: "top-k", k: 3 });
  const [all] = moeSites(await planned(adamoeFolder({ num_experts_per_tok: 8 })));
  expect(all?.router.selection).toEqual({ rule: "top-k", k: 8 });
  const tooMany = await headerOf(adamoeFolder({ num_experts_per_tok: 9 }));
  expect(() => planModel(tooMany)).toThrow(/expert_used_count is 9, not in 1 to 8/);
});

test("routers that read the logits before are not asked early, those with null experts are", async () => {
  expect(prepare(await headerOfMoe({ ...plain, layers: 1 }), {}).sizes.lookahead).toBe(0);
  expect(prepare(await headerOf(adamoeFolder()), {}).sizes.lookahead).toBeGreaterThan(0);
});

test("one slot for each layer is for an expert with a page", async () => {
  const file = await headerOfMoe(plain);
  const { pages } = prepare(file, {});
  const least = pages.sites.flatMap(([first]) => first?.bytes ?? []);
  expect(least).toHaveLength(3);
});

describe("refused by name", () => {
  test.each<[string, Readonly<Record<string, unknown>>, RegExp]>([
    ["no expert with a page", { num_experts: [4] }, /num_experts 4/],
    ["dense layers between", { moe_expert_interval: 2 }, /moe_expert_interval 2/],
    ["logits turned round", { moe_use_logits_norm: true, moe_gate_norm_std: -1 }, /moe_gate_norm_std -1/],
    ["a rope that is not known", { rope_scaling: { type: "longrope" } }, /longrope scaling/],
  ])("%s", async (_, config, message) => {
    const file = await headerOfMoe(plain, config);
    let error: SluiceError | undefined;
    try {
      planModel(file);
    } catch (reason) {
      error = reason as SluiceError;
    }
    expect(error).toMatchObject({ code: "unsupported-model" });
    expect(error?.message).toMatch(message);
  });

  test("a router of another number of layers than is said", async () => {
    const file = await headerOfMoe(plain, { moe_2layer_gate: false });
    expect(() => planModel(file)).toThrow(/ffn_gate_inp.weight is missing/);
  });

  test("what no kernel does yet, as a plan", async () => {
    const plan = await planned(moePlusPlusFolder(plain));
    const changed = (change: (moe: MoeSpec) => Partial<MoeSpec>): ModelPlan => ({
      ...plan,
      layers: plan.layers.map(({ blocks }) => ({
        blocks: blocks.map((block) =>
          block.kind === "feed-forward" && block.moe
            ? { ...block, moe: { ...block.moe, ...change(block.moe) } }
            : block,
        ),
      })),
    });
    const refuses = (change: (moe: MoeSpec) => Partial<MoeSpec>, message: RegExp) =>
      expect(() => requireRunnable(changed(change))).toThrow(message);
    refuses(({ table }) => ({ table: table.slice(1) }), /none with a page/);
    refuses(({ table }) => ({ table: [...table, ...table] }), /several kinds with pages/);
    refuses(
      ({ router }) => ({ router: { ...router, weights: { ...router.weights, first: true } } }),
      /weighed by routes/,
    );
    refuses(
      ({ router }) => ({ router: { ...router, weights: { ...router.weights, rule: "raw" } } }),
      /dropped by another rule/,
    );
  });
});
