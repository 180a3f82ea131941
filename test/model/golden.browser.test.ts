import { describe, expect, test } from "vitest";
import { loadModel } from "../../src/client.ts";
import { collect } from "../support/engine.ts";
import { fixture, type GoldenCase, nmse, tinyStoriesCases, tinyStoriesModel } from "../support/golden.ts";
import { expectGoldenModel, familyModels, ownModels, sharedModels } from "./golden_models.ts";

test.each(ownModels)("$name, in this thread", expectGoldenModel);
test.each(familyModels)("$name", expectGoldenModel);

test("trained tiny-stories-moe in Q4_K_M, in workers", async () => {
  const model = await loadModel(tinyStoriesModel(), { store: "memory" });
  const [golden] = await tinyStoriesCases(fixture("golden-Q4_K_M"));
  const { tokens, greedy, logits } = golden as GoldenCase;
  expect(nmse(await model.logits(tokens), logits ?? [])).toBeLessThanOrEqual(1e-6);
  expect(await collect(model.generateTokens(tokens, { maxTokens: 20 }))).toEqual(greedy.slice(0, 20));
  const pieces = await collect(model.generate("once upon a time, there was a little", { maxTokens: 14 }));
  expect(pieces.join("")).toBe(" girl named lily. she loved to play outside in the park with her");
  await model.dispose();
});

const others = await sharedModels();

describe.runIf(others.length > 0)("models of the shared folder", () => {
  test.each(others)("$name", expectGoldenModel);
});
