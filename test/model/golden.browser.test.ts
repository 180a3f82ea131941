import { describe, expect, test } from "vitest";
import { loadModel } from "../../src/client.ts";
import { expectGolden } from "../support/engine.ts";
import { fixture, type GoldenCase, tinyStoriesCases, tinyStoriesModel } from "../support/golden.ts";
import { expectGoldenModel, ownModels, sharedModels } from "./golden_models.ts";

test.each(ownModels)("$name, in this thread", expectGoldenModel);

test("trained tiny-stories-moe in Q4_K_M, in workers", async () => {
  const model = await loadModel(tinyStoriesModel(), { store: "memory" });
  const [golden] = await tinyStoriesCases(fixture("golden-Q4_K_M"));
  await expectGolden(model, golden as GoldenCase);
  let text = "";
  for await (const piece of model.generate("once upon a time, there was a little", { maxTokens: 14 })) {
    text += piece;
  }
  expect(text).toBe(" girl named lily. she loved to play outside in the park with");
  await model.dispose();
});

const others = await sharedModels();

describe.runIf(others.length > 0)("models of the shared folder", () => {
  test.each(others)("$name", expectGoldenModel);
});
