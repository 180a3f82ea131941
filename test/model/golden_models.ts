/** Models whose logits and greedy continuations are known, and how much of each a software adapter has time for. */
import { expect } from "vitest";
import type { InlineOptions } from "../../src/inline.ts";
import { expectGolden, loadInline } from "../support/engine.ts";
import { familyCase, familyFile, familyNames } from "../support/family_fixture.ts";
import {
  exists,
  fixture,
  type GoldenCase,
  goldenCase,
  nmse,
  shared,
  tinyStoriesCases,
  tinyStoriesModel,
} from "../support/golden.ts";

export interface GoldenModel {
  readonly name: string;
  readonly file: URL | (() => Promise<File>);
  cases(): Promise<readonly (GoldenCase & { readonly positions?: readonly number[] })[]>;
  readonly options?: Partial<InlineOptions>;
}

/** Greedy tokens checked of the models of which there are several. */
const SHORT_TOKENS = 24;

/** Models the repository carries. */
export const ownModels: readonly GoldenModel[] = [
  {
    name: "random qwen3moe in F16 with biases and scales",
    file: fixture("qwen3moe-moe.gguf"),
    cases: async () => [await goldenCase(fixture("qwen3moe-moe"))],
  },
  {
    name: "trained tiny-stories-moe in Q4_K_M",
    file: tinyStoriesModel(),
    cases: async () => {
      const [first, second] = await tinyStoriesCases(fixture("golden-Q4_K_M"));
      return [first as GoldenCase, shortened(second as GoldenCase)];
    },
  },
];

/** Family fixtures that run with most experts on disk: one of each way to choose experts and to attend. */
const pagedFixtures: readonly string[] = [
  ...["gpt-oss-yarn", "smallthinker-5", "qwen3next-gdn4", "lfm2moe-4"],
  ...["deepseek2-groups-yarn", "cohere2moe", "llama4-gqa", "glm4moe"],
];

/** Small random models of many families, of which the repository carries the header and the answers. */
export const familyModels: readonly GoldenModel[] = [
  ...familyNames()
    .filter((name) => !pagedFixtures.includes(name))
    .map((name) => family(name)),
  ...pagedFixtures.map(
    (name): GoldenModel => ({
      ...family(name),
      name: `family fixture ${name}, a quarter of its experts at a time`,
      options: { memory: { gpuExperts: "25%" } },
    }),
  ),
];

function family(name: string): GoldenModel {
  return {
    name: `family fixture ${name}`,
    file: () => familyFile(name),
    cases: async () => [await familyCase(name)],
  };
}

const quants = [
  ...["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q2_K", "Q3_K_S", "Q4_K_S", "Q5_K_S", "Q6_K"],
  ...["IQ4_NL", "MXFP4_MOE", "TQ1_0", "Q1_0"],
];

/** Families with a mapping besides qwen3moe, by their file in `golden/archs`. */
const families = [
  ...["llama-dense", "llama-moe", "llama-linear", "qwen3-dense", "qwen2moe-moe", "olmoe-moe"],
  ...["granitemoe-moe", "deepseek-moe", "bailingmoe-moe", "ernie4_5-moe-moe", "phimoe-moe", "dbrx-moe"],
  ...["gpt-oss-moe", "smallthinker-moe", "afmoe-moe", "llama4-moe", "lfm2moe-moe", "qwen3next-moe"],
  ...["qwen35moe-moe", "deepseek2-moe"],
];

/** Of these also with most experts on disk: shared experts with a gate, and dense layers beside sparse ones. */
const pagedFamilies = ["qwen2moe-moe", "deepseek-moe"];

/** Models of the shared folder; none where it is not mounted. */
export async function sharedModels(): Promise<GoldenModel[]> {
  if (!(await exists(shared("golden/archs/qwen3moe-yarn.gguf")))) return [];
  const small = (name: string, path: string): GoldenModel => ({
    name,
    file: shared(`${path}.gguf`),
    cases: async () => [await goldenCase(shared(path))],
  });
  const paged = (name: string): GoldenModel => ({
    ...small(`random ${name}, a quarter of its experts at a time`, `golden/archs/${name}`),
    options: { memory: { gpuExperts: "25%" } },
  });
  const stories = (type: string): GoldenModel => ({
    name: `trained tiny-stories-moe in ${type}`,
    file: shared(`models/tiny-stories-moe/tiny-stories-moe-${type}.gguf`),
    cases: async () => {
      const [first] = await tinyStoriesCases(shared(`models/tiny-stories-moe/golden-${type}`));
      return [shortened(first as GoldenCase)];
    },
  });
  return [
    small("random qwen3moe with YaRN", "golden/archs/qwen3moe-yarn"),
    ...families.map((name) => small(`random ${name}`, `golden/archs/${name}`)),
    ...pagedFamilies.map(paged),
    ...quants.map((type) => small(`random qwen3moe in ${type}`, `golden/quants/${type}`)),
    ...["Q8_0", "Q4_0"].map(stories),
  ];
}

/**
 * Every case as known; and the same logits once more are equal in every bit, although at first the experts are
 * fetched one after the other and then those that have room are there.
 */
export async function expectGoldenModel({ file, cases, options }: GoldenModel): Promise<void> {
  const model = await loadInline(file instanceof URL ? file : await file(), options);
  try {
    for (const { tokens, greedy, logits, positions } of await cases()) {
      const cold = logits && (await model.logits(tokens));
      if (cold) expect(nmse(rows(cold, tokens.length, positions), logits)).toBeLessThanOrEqual(1e-6);
      await expectGolden(model, { tokens, greedy });
      if (cold) expect(differences(await model.logits(tokens), cold)).toBe(0);
    }
  } finally {
    await model.dispose();
  }
}

/** The rows of these numbers, of `count` rows. */
function rows(matrix: Float32Array, count: number, numbers?: readonly number[]): Float32Array {
  if (!numbers) return matrix;
  const width = matrix.length / count;
  const kept = numbers.map((row) => [...matrix.subarray(row * width, (row + 1) * width)]);
  return Float32Array.from(kept.flat());
}

/** How many numbers are not the same. */
function differences(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) return Number.NaN;
  return a.filter((value, i) => !Object.is(value, b[i])).length;
}

function shortened(golden: GoldenCase): GoldenCase {
  return { ...golden, greedy: golden.greedy.slice(0, SHORT_TOKENS) };
}
