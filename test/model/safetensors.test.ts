import { describe, expect, test } from "vitest";
import { planModel } from "../../src/model/archs/index.ts";
import { planPages } from "../../src/model/pages.ts";
import { type ModelPlan, ropeSpecs } from "../../src/model/plan.ts";
import { requireRunnable } from "../../src/model/runnable.ts";
import type { InstallForm } from "../../src/quant/install.ts";
import { specOf } from "../../src/source/spec.ts";
import { sha256 } from "../../src/store/checksum.ts";
import { MemoryBackend } from "../../src/store/memory.ts";
import { ModelStore } from "../../src/store/model_store.ts";
import { smallModel } from "../support/engine.ts";
import { exists, readBytes, shared } from "../support/golden.ts";
import { folderOf, withoutScales } from "../support/hugging_face.ts";
import { familyFolders, qwen3moeFolder } from "../support/hugging_face_families.ts";

/** Pages of a model, as its store makes them. */
async function pagesOf(source: File | File[], form?: InstallForm) {
  const store = new ModelStore(new MemoryBackend(0));
  const { id, file } = await store.open(specOf(source));
  const plan = planModel(file, form);
  requireRunnable(plan);
  const { pages } = planPages(plan);
  await store.plan(id, pages);
  const bytes = await store.read(
    id,
    pages.map(({ index }) => index),
  );
  await store.close(id);
  const sums = await Promise.all(bytes.map(sha256));
  return {
    plan,
    pages: pages.map(({ label }, i) => ({ label, size: bytes[i]?.byteLength ?? 0, sha256: sums[i] })),
  };
}

/** A plan without what differs between files of one model: names and places of tensors, and the order of rope pairs. */
function traits(plan: ModelPlan): unknown {
  // The random Llama 4 has its windows in other layers than such models have them.
  const windows = plan.architecture === "llama4" ? ["window"] : [];
  const hidden = [
    ...windows,
    "name",
    "offset",
    "bytes",
    "slices",
    "stored",
    "gather",
    "architecture",
    "interleaved",
  ];
  return JSON.parse(JSON.stringify(plan, (key, value) => (hidden.includes(key) ? undefined : value)));
}

const small = await withoutScales(await readBytes(smallModel()));
const smallPages = await pagesOf(new File([small], "small.gguf"));

describe("a folder gives the pages of its GGUF file, bit for bit", () => {
  test.each([
    ["an expert's matrices by themselves", {}],
    ["gate and up of all experts in one", { experts: "fused" }],
    ["three files", { shards: 3 }],
    ["five files, gate and up in one", { shards: 5, experts: "fused" }],
  ] as const)("%s", async (_, options) => {
    const { plan, pages } = await pagesOf(await folderOf(small, qwen3moeFolder, options));
    expect(traits(plan)).toEqual(traits(smallPages.plan));
    expect(pages).toEqual(smallPages.pages);
  });

  test.each(["q8_0", "q4_0"] as const)("quantised to %s", async (form) => {
    const expected = await pagesOf(new File([small], "small.gguf"), form);
    const bytes = (list: typeof expected.pages) => list.reduce((sum, page) => sum + page.size, 0);
    expect(bytes(expected.pages)).toBeLessThan(0.7 * bytes(smallPages.pages));
    const { pages } = await pagesOf(await folderOf(small, qwen3moeFolder, { experts: "fused" }), form);
    expect(pages).toEqual(expected.pages);
  });
});

describe.runIf(await exists(shared("golden/archs/qwen3moe-yarn.gguf")))("families", () => {
  /** The keys and values of their latent lie in one matrix, which GGUF files split. */
  const sameParts = Object.entries(familyFolders).filter(([name]) => name !== "deepseek2-moe");

  test.each(sameParts)("%s", async (name, family) => {
    const gguf = await withoutScales(await readBytes(shared(`golden/archs/${name}.gguf`)));
    const expected = await pagesOf(new File([gguf], "x.gguf"));
    const { plan, pages } = await pagesOf(await folderOf(gguf, family));
    expect({ ...(traits(plan) as object), name: "" }).toEqual({
      ...(traits(expected.plan) as object),
      name: "",
    });
    const pairs = (of: ModelPlan) => [...new Set(ropeSpecs(of).map(({ interleaved }) => interleaved))];
    expect(pairs(plan)).toEqual(family.isPermuted ? [false] : pairs(expected.plan));
    if (family.isPermuted) expect(pairs(expected.plan)).toEqual([true]);
    const isSame = (label: string) => !family.isPermuted || !/^layer \d+$/.test(label);
    expect(pages.filter(({ label }) => isSame(label))).toEqual(
      expected.pages.filter(({ label }) => isSame(label)),
    );
  });
});
