import { describe, test } from "vitest";
import { expectGoldenModel, familyModels, ownModels, sharedModels } from "./golden_models.ts";

test.each(ownModels)("$name, in this thread", expectGoldenModel);
test.each(familyModels)("$name", expectGoldenModel);

const others = await sharedModels();

describe.runIf(others.length > 0)("models of the shared folder", () => {
  test.each(others)("$name", expectGoldenModel);
});
