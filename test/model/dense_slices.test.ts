import { expect, test } from "vitest";
import { planModel } from "../../src/model/archs/index.ts";
import { planPages } from "../../src/model/pages.ts";
import { moeBlocks } from "../../src/model/state.ts";
import { specOf } from "../../src/source/spec.ts";
import { MemoryBackend } from "../../src/store/memory.ts";
import { ModelStore } from "../../src/store/model_store.ts";
import { type FactorOptions, factorFolder } from "../support/factor_folder.ts";

async function planOf(options: FactorOptions, config: Readonly<Record<string, unknown>> = {}) {
  const { file } = await new ModelStore(new MemoryBackend(0)).open(specOf(factorFolder(options, config)));
  return { plan: planModel(file), file };
}

test.each([true, false])(
  "experts of a quarter of the rows, whole and equal; slices of the dense ones: %s",
  async (sharesDense) => {
    const { plan } = await planOf({ sharesDense });
    const [block] = moeBlocks(plan);
    expect(block?.moe.router).toMatchObject({
      selection: { rule: "top-k", k: 2 },
      weights: { rule: "one-over-share", scale: 1 },
    });
    expect(block?.moe.router.logits.layers[0]?.bias?.shape).toEqual([4]);
    expect(
      planPages(plan).sites.map((pages) =>
        pages.map((page) => page?.parts.map(({ rows, cols }) => [rows, cols])),
      ),
    ).toEqual(
      new Array(2).fill(
        new Array(4).fill([
          [64, 64],
          [64, 64],
          [64, 64],
        ]),
      ),
    );
  },
);

test("a slice's columns lie apart in the dense matrix, its rows do not", async () => {
  const { plan, file } = await planOf({ sharesDense: true });
  const page = planPages(plan).sites[1]?.[3];
  const whole = (part: string) =>
    file.tensors.find(({ name }) => name === `model.layers.1.mlp.${part}_proj.weight`)?.offset ?? 0;
  const [gate, up, down] = page?.parts ?? [];
  expect(gate?.source).toEqual({ offset: whole("gate") + 4 * 3 * 64 * 64, bytes: 4 * 64 * 64 });
  expect(up?.source.offset).toBe(whole("up") + 4 * 3 * 64 * 64);
  expect(down?.source).toEqual({ offset: whole("down") + 4 * 3 * 64, bytes: 4 * (63 * 256 + 64) });
  expect(down?.gather).toEqual({ first: 0, row: 256, col: 1 });
});

test("refused: experts that do not divide the MLP, and both kinds at once", async () => {
  await expect(planOf({ sharesDense: true }, { num_experts: 3 })).rejects.toThrow(/holds 3 experts/);
  await expect(planOf({ sharesDense: false }, { shares_dense: true })).rejects.toThrow(/ffn_gate_exps/);
});
