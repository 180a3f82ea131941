import { describe, expect, test } from "vitest";
import { collect, loadInline } from "../support/engine.ts";
import { exists, goldenCase, shared } from "../support/golden.ts";

const path = "golden/archs/qwen3-dense";

describe.runIf(await exists(shared(`${path}.gguf`)))("a model without experts", () => {
  test.each([
    {},
    { memory: { gpuExperts: "0%" } },
    { memory: { gpu: 64 * 2 ** 20 } },
    { experts: { trace: true } },
  ] as const)("pages nothing: %j", async (options) => {
    const { tokens, greedy } = await goldenCase(shared(path));
    const model = await loadInline(shared(`${path}.gguf`), options);
    expect(await collect(model.generateTokens(tokens, { maxTokens: 8 }))).toEqual(greedy.slice(0, 8));
    expect(model.info).toMatchObject({ experts: 0, expertsPerToken: 0 });
    expect(await model.stats()).toMatchObject({ faultsPerToken: 0 });
    await model.dispose();
  });
});
