import process from "node:process";
import { describe, test } from "vitest";
import { expectGoldenModel, ownModels, sharedModels } from "../model/golden_models.ts";
import { requestAdapter } from "../support/gpu.ts";

// For Mesa's software adapter, which else optimises shaders for longer than these tests run.
process.env.GALLIVM_PERF ??= "nopt";

/** The golden suite on Dawn's adapter: another driver, subgroup size and binding limit than the browser's. */
const adapter = await requestAdapter().catch(() => null);

describe.runIf(adapter !== null)(
  `models on ${adapter?.info.description ?? "Dawn: no adapter here"}`,
  async () => {
    test.each([...ownModels, ...(await sharedModels())])("$name", expectGoldenModel);
  },
);
