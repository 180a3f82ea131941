import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ExpertOptions, MemoryBudget } from "../../src/api.ts";
import { DEFAULTS } from "../../src/experts/defaults.ts";
import { POLICIES, type PolicyName } from "../../src/experts/policy/index.ts";
import { PREDICTORS, type PredictorName } from "../../src/experts/predictor/index.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { MemoryBackend } from "../../src/store/memory.ts";
import { ModelStore } from "../../src/store/model_store.ts";
import {
  decodeLogits,
  type OpenRunner,
  openCold,
  openRunner,
  prefillLogits,
  smallCase,
  smallModel,
} from "../support/engine.ts";
import { fixture, tinyStoriesCases, tinyStoriesModel } from "../support/golden.ts";
import { openGpu } from "../support/gpu.ts";
import { type Unsteadiness, unsteady } from "../support/unsteady_store.ts";

const CHUNK = 8;
const policies = Object.keys(POLICIES) as PolicyName[];
const predictors = Object.keys(PREDICTORS) as PredictorName[];

const small = (await smallCase()).tokens;
const [stories] = await tinyStoriesCases(fixture("golden-Q4_K_M"));
const story = [...(stories?.tokens ?? []), ...(stories?.greedy ?? [])];

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openGpu();
});
afterAll(() => gpu.destroy());

const options = (memory: MemoryBudget, experts: ExpertOptions = {}) => ({
  chunkTokens: CHUNK,
  contextTokens: 64,
  memory,
  experts,
});

async function expectSameBits(actual: OpenRunner, expected: OpenRunner, prompt: readonly number[]) {
  for (const logits of [prefillLogits, decodeLogits]) {
    const wanted = await logits(expected, prompt);
    const found = await logits(actual, prompt);
    const different = found.findIndex((value, i) => !Object.is(value, wanted[i]));
    expect(different, `${logits.name}: first logit that differs`).toBe(-1);
    expect(found.length).toBe(wanted.length);
  }
}

describe.each([
  ["8 experts in 2 layers", smallModel(), small.slice(0, 3 * CHUNK - 1)],
  ["16 experts in 6 layers", tinyStoriesModel(), story.slice(0, 2 * CHUNK + 3)],
] as const)("%s: the bits of the resident model", (_, file, prompt) => {
  let resident: OpenRunner;
  beforeAll(async () => {
    resident = await openRunner(gpu, file, options({}));
    expect(resident.pager.stream.isComplete).toBe(true);
  });

  test.each(["0%", "25%", "50%", "100%"] as const)("%s of the experts", async (gpuExperts) => {
    const paged = await openCold(gpu, file, options({ gpuExperts }));
    await expectSameBits(paged, resident, prompt);
    await expectSameBits(paged, resident, prompt.slice(0, 5));
    expect(paged.pager.counters.faults).toBeGreaterThan(0);
  });

  test("25%, nothing kept in host memory", async () => {
    const paged = await openCold(gpu, file, options({ gpuExperts: "25%", host: 0 }));
    await expectSameBits(paged, resident, prompt);
  });
});

describe("every policy and every predictor, at a quarter of the experts and at one", () => {
  const prompt = small.slice(0, 2 * CHUNK + 1);
  let resident: OpenRunner;
  beforeAll(async () => {
    resident = await openRunner(gpu, smallModel(), options({}));
  });

  // Which of them go together changes what is brought and when, as the others do.
  const pairs = [
    ...policies.map((policy) => ({ policy, predictor: DEFAULTS.predictor })),
    ...predictors
      .filter((predictor) => predictor !== DEFAULTS.predictor)
      .map((predictor) => ({ policy: DEFAULTS.policy, predictor })),
  ];
  test.each(pairs)("$policy, $predictor", async (experts) => {
    for (const gpuExperts of ["25%", "0%"] as const) {
      const paged = await openCold(gpu, smallModel(), options({ gpuExperts }, experts));
      await expectSameBits(paged, resident, prompt);
    }
  });
});

test.each([
  ["shallow-first", [8, 1]],
  ["even", [5, 4]],
] as const)("slots shared out %s: the bits of the resident model", async (capacity, slots) => {
  const resident = await openRunner(gpu, smallModel(), options({}));
  const pageBytes = resident.pages.sites[0]?.[0]?.bytes ?? 0;
  const paged = await openCold(gpu, smallModel(), options({ gpuExperts: 9 * pageBytes }, { capacity }));
  const sizes = slots.map((_, site) => paged.buffers.get(`experts of site ${site}`)?.[0]?.size);
  expect(sizes).toEqual(slots.map((count) => count * pageBytes));
  await expectSameBits(paged, resident, small.slice(0, 2 * CHUNK + 1));
});

test("5 slots in buffers of 3 and 2: the bits of the resident model", async () => {
  const resident = await openRunner(gpu, smallModel(), options({}));
  const pageBytes = resident.pages.sites[0]?.[0]?.bytes ?? 0;
  const narrow = await openGpu({ maxBindingBytes: 3 * pageBytes + 4 });
  const paged = await openCold(narrow, smallModel(), options({ gpuExperts: "63%" }));
  expect(paged.buffers.get("experts of site 0")).toHaveLength(2);
  await expectSameBits(paged, resident, small.slice(0, 2 * CHUNK + 1));
  narrow.destroy();
});

describe("a store that is late, and fails", () => {
  const prompt = small.slice(0, 2 * CHUNK + 1);
  let resident: OpenRunner;
  let wanted: readonly Float32Array[];
  beforeAll(async () => {
    resident = await openRunner(gpu, smallModel(), options({}));
    wanted = [await prefillLogits(resident, prompt), await decodeLogits(resident, prompt)];
  });

  /** Dense weights come as they come: without them there is no model to test. */
  const openUnsteady = async (unsteadiness: Omit<Unsteadiness, "pages">, memory: MemoryBudget) => {
    const experts = new Set(resident.pages.sites.flat().map((page) => page?.index));
    const store = new ModelStore(new MemoryBackend(Number.POSITIVE_INFINITY));
    return openCold(
      gpu,
      smallModel(),
      options(memory),
      unsteady(store, { ...unsteadiness, pages: (i) => experts.has(i) }),
    );
  };

  test.each(["0%", "25%", "100%"] as const)("every page late and out of order, %s", async (gpuExperts) => {
    const paged = await openUnsteady({ seed: 1, delayMs: [5, 40] }, { gpuExperts, host: 0 });
    await expectSameBits(paged, resident, prompt);
  });

  test.each([1, 2, 3, 4, 5, 6])("pages late, out of order and lost at random, seed %i", async (seed) => {
    const memory = { gpuExperts: seed % 2 === 0 ? "25%" : "50%", host: 0 } as const;
    const paged = await openUnsteady({ seed, delayMs: [0, 10], failRate: 0.02 }, memory);
    let failures = 0;
    for (const [i, logits] of [prefillLogits, decodeLogits].entries()) {
      let found: Float32Array | undefined;
      while (!found) {
        found = await logits(paged, prompt).catch((error: unknown) => {
          expect(error).toMatchObject({ code: "network" });
          expect(++failures).toBeLessThan(100);
          return undefined;
        });
      }
      expect(found).toEqual(wanted[i]);
    }
  });

  test("the background gives up when pages are lost, says so to who waits, and goes on when asked again", async () => {
    const paged = await openUnsteady({ seed: 9, failRate: 0.3 }, {});
    let failures = 0;
    for (;;) {
      const more = await paged.pager.fill(Number.POSITIVE_INFINITY).catch((error: unknown) => {
        expect(error).toMatchObject({ code: "network" });
        expect(++failures).toBeLessThan(100);
        return true;
      });
      if (!more) break;
    }
    expect(failures).toBeGreaterThan(0);
    expect(paged.pager.stream.isComplete).toBe(true);
    expect(await prefillLogits(paged, prompt)).toEqual(wanted[0]);
  });
});
