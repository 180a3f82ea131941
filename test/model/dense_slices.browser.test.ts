import { expect, test } from "vitest";
import { type InlineOptions, loadModelInline } from "../../src/inline.ts";
import { sharedAdapter } from "../support/adapter.ts";
import { collect } from "../support/engine.ts";
import { factorFolder, factorLogits } from "../support/factor_folder.ts";
import { nmse } from "../support/golden.ts";

const tokens = [5, 17, 70, 2, 2, 41, 63, 9, 71];

async function answers(source: readonly File[], options: Partial<InlineOptions> = {}) {
  const model = await loadModelInline(source, {
    store: "memory",
    ...options,
    adapter: await sharedAdapter(),
  });
  try {
    const greedy = await collect(model.generateTokens(tokens, { maxTokens: 4 }));
    return { greedy, logits: await model.logits(tokens) };
  } finally {
    await model.dispose();
  }
}

test.each([true, false])("slices of a dense MLP's matrices: %s", async (sharesDense) => {
  const folder = factorFolder({ sharesDense });
  const resident = await answers(folder);
  expect(nmse(resident.logits, factorLogits({ sharesDense }, tokens))).toBeLessThan(1e-10);
  if (sharesDense) expect(await answers(folder, { memory: { gpuExperts: "0%" } })).toEqual(resident);
});
