import { describe, expect, test } from "vitest";
import { planModel } from "../../src/model/archs/index.ts";
import type { MoeSpec } from "../../src/model/moe_plan.ts";
import { canAskEarly } from "../../src/model/next_gates.ts";
import type { ModelPlan } from "../../src/model/plan.ts";
import { Routing } from "../../src/model/routing.ts";
import { requireRunnable } from "../../src/model/runnable.ts";
import { moeSites } from "../../src/model/state.ts";
import { readGguf } from "../../src/source/gguf.ts";
import type { ModelFile } from "../../src/source/model_file.ts";
import { openSource } from "../../src/source/open.ts";
import { specOf } from "../../src/source/spec.ts";
import { failure } from "../support/engine.ts";
import { routedModel } from "../support/routed_model.ts";
import { type Changes, changed } from "./plan_file.ts";

const trees = { trees: 2, gamma: 0.5 };
const file: ModelFile = await readGguf(
  await openSource(specOf(routedModel({ input: "tree", trees: { ...trees, isPermuted: true } }))),
);

test("nodes and leaves of all trees; every expert that is reached; weights as they are", () => {
  const plan = planModel(file);
  requireRunnable(plan);
  const [{ router }] = moeSites(plan) as [MoeSpec];
  expect(router).toMatchObject({
    input: "block",
    logits: { gate: "tree", tree: { count: 2, gamma: 0.5, permutations: { shape: [2, 8, 8] } } },
    selection: { rule: "threshold", threshold: 2 ** -126, kMax: 8 },
    weights: { rule: "raw" },
  });
  expect(router.logits.layers.map(({ weight }) => weight.shape)).toEqual([
    [14, 64],
    [16, 64],
  ]);
  expect(canAskEarly(plan)).toBe(false);
  expect(Object.keys(new Routing(plan).layers[0]?.ranges ?? {})).toEqual(["k", "threshold"]);
});

test.each<[string, Changes, RegExp]>([
  ["no number of trees", { metadata: { "qwen3moe.router.tree_count": undefined } }, /router\.tree_count/],
  ["more trees than tensors", { metadata: { "qwen3moe.router.tree_count": 3 } }, /\[14,64\].*\[21,64\]/],
  ["a step of no width", { metadata: { "qwen3moe.router.tree_step": -1 } }, /tree_step is -1/],
  [
    "an order of other experts",
    { tensors: { "_order.weight": { shape: [2, 8, 4] } } },
    /\[2,8,4\].*\[2,8,8\]/,
  ],
])("%s: bad-model-file", async (_, changes, message) => {
  const error = await failure("bad-model-file", () => planModel(changed(file, changes)));
  expect(error.message).toMatch(message);
});

describe("refused by name", () => {
  const refusal = (change: (moe: MoeSpec) => MoeSpec) => {
    const plan: ModelPlan = planModel(file);
    const layers = plan.layers.map(({ blocks }) => ({
      blocks: blocks.map((block) =>
        block.kind === "feed-forward" && block.moe ? { ...block, moe: change(block.moe) } : block,
      ),
    }));
    return failure("unsupported-model", () => requireRunnable({ ...plan, layers }));
  };
  const logits = (moe: MoeSpec, changes: Partial<MoeSpec["router"]["logits"]>): MoeSpec => ({
    ...moe,
    router: { ...moe.router, logits: { ...moe.router.logits, ...changes } },
  });

  test("trees that no kernel grows", async () => {
    const message = async (change: (moe: MoeSpec) => MoeSpec) => (await refusal(change)).message;
    expect(await message((moe) => logits(moe, { tree: undefined }))).toMatch(/trees that are not told/);
    expect(await message((moe) => logits(moe, { temperature: 2 }))).toMatch(/more than trees/);
    expect(await message((moe) => logits(moe, { tree: { count: 1024, gamma: 1 } }))).toMatch(
      /8192 leaves of trees \(at most 4096\)/,
    );
    const topK = { rule: "top-k", k: 2 } as const;
    expect(await message((moe) => ({ ...moe, router: { ...moe.router, selection: topK } }))).toMatch(
      /top-k selection by a tree router/,
    );
  });
});
