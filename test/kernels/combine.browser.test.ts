import { test } from "vitest";
import { combine } from "../../src/kernels/combine.ts";
import { matmul, pagelessExpert, combine as reference } from "../reference/index.ts";
import { expectClose, guarded, onGpu, outputFloats, poisoned, runSteps, storage } from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";
import { WeightPage } from "../support/weight_page.ts";
import { packRoutes, randomExperts, routeSets } from "./routes.ts";

/** As many products and sums as a token has routes, each rounded once. */
const TOLERANCE = 2e-7;

interface Case {
  readonly cols: number;
  readonly topK: number;
  readonly tokens: number;
  readonly counts?: readonly number[];
  readonly scale?: number;
  readonly weighted?: boolean;
  readonly store?: boolean;
  /** Of a bias. */
  readonly biasScale?: number;
}

interface PagelessCase {
  readonly topK: number;
  readonly tokens: number;
  readonly inputScale?: number;
}

const ZEROS: readonly number[] = [0, 1, 2];
const COPIES: readonly number[] = [7, 12, 13, 14, 15];

onGpu("combine", (gpu) => {
  async function combined(shape: Case) {
    const { cols, topK, tokens, counts, scale = 1, weighted = true, store = false, biasScale } = shape;
    const random = seeded(cols + topK);
    const chosen = randomExperts(random, tokens, topK, 16);
    const routes = routeSets(random, topK, chosen, (expert) => expert, counts);
    const isUsed = (pair: number) => pair % topK < (routes.counts[Math.floor(pair / topK)] as number);
    const rows = normals(random, tokens * topK * cols);
    const x = normals(random, tokens * cols);
    // Routes past a token's count, and their rows, may hold anything.
    const bias = normals(random, cols);
    const page = new WeightPage(random);
    const base = page.floats(bias);
    const vector = { buffer: storage(gpu(), "page", page.bytes()), base, length: cols };
    const buffer = store ? poisoned(gpu(), "x", x.length) : guarded(gpu(), "x", x);
    const isRead = (pair: number) => weighted && isUsed(pair);
    const step = combine(gpu(), {
      ...{ cols, topK, scale, weighted, store },
      bias: biasScale === undefined ? undefined : { vector, scale: biasScale },
      rows: storage(
        gpu(),
        "rows",
        rows.map((value, i) => (isUsed(Math.floor(i / cols)) ? value : Number.NaN)),
      ),
      routes: storage(
        gpu(),
        "routes",
        packRoutes({ ...routes, weights: routes.weights.map((w, pair) => (isRead(pair) ? w : Number.NaN)) }),
      ),
      counts: storage(gpu(), "counts", routes.counts),
      x: buffer,
    });
    await runSteps(gpu(), [step], { tokens });
    const weights = routes.weights.map((weight, pair) =>
      isUsed(pair) ? scale * (weighted ? weight : 1) : 0,
    );
    const began = Float64Array.from({ length: x.length }, (_, i) => {
      const biased = biasScale === undefined ? 0 : scale * biasScale * (bias[i % cols] as number);
      return biased + (store ? 0 : (x[i] as number));
    });
    const expected = reference(rows, weights, topK, began);
    expectClose(await outputFloats(gpu(), buffer, x.length), expected, TOLERANCE);
  }

  test("one token", () => combined({ cols: 256, topK: 8, tokens: 1 }));
  test("several tokens, part of a workgroup", () => combined({ cols: 36, topK: 2, tokens: 5 }));
  test("more vectors than lanes", () => combined({ cols: 4 * 75, topK: 4, tokens: 3 }));
  test("scaled", () => combined({ cols: 64, topK: 2, tokens: 3, scale: 0.22 }));
  test("stored, scaled or not", async () => {
    await combined({ cols: 64, topK: 3, tokens: 5, store: true });
    await combined({ cols: 4 * 75, topK: 2, tokens: 3, store: true, scale: -0.5, counts: [2, 0, 1] });
  });
  test("with a bias, once a token", async () => {
    await combined({ cols: 4 * 75, topK: 2, tokens: 3, biasScale: 1 });
    await combined({ cols: 64, topK: 3, tokens: 4, biasScale: 2.5, scale: 0.3, counts: [0, 1, 2, 3] });
    await combined({ cols: 36, topK: 1, tokens: 2, biasScale: -1, store: true });
  });
  test("not weighted", async () => {
    await combined({ cols: 64, topK: 3, tokens: 5, weighted: false, counts: [0, 1, 2, 3, 0] });
    await combined({ cols: 36, topK: 1, tokens: 2, weighted: false, store: true, scale: 3 });
  });
  /** Of 16 experts ten have no page; their rows may hold anything. */
  async function combinedPageless({ topK, tokens, inputScale = 1 }: PagelessCase) {
    const random = seeded(topK + tokens);
    const cols = 36;
    const chosen = randomExperts(random, tokens, topK, 16);
    const routes = routeSets(random, topK, chosen, (expert) => expert);
    const rows = normals(random, tokens * topK * cols);
    const input = normals(random, tokens * cols);
    const x = normals(random, tokens * cols);
    const page = new WeightPage(random);
    const constants = [9, 5].map((expert) => {
      const gate = { values: normals(random, 2 * cols, 2), rows: 2, cols };
      const vector = normals(random, cols);
      return { expert, gate, vector, base: page.floats(vector) };
    });
    const read = input.map((value) => inputScale * value);
    const logits = Array.from({ length: tokens }, (_, t) =>
      constants.flatMap(({ gate }) => [...matmul(read.subarray(t * cols, (t + 1) * cols), gate)]),
    ).flat();
    const outputOf = (pair: number) => {
      const expert = chosen[pair] as number;
      const own = read.subarray(Math.floor(pair / topK) * cols, Math.floor(pair / topK + 1) * cols);
      if (ZEROS.includes(expert)) return pagelessExpert(own, { kind: "zero" });
      if (COPIES.includes(expert)) return pagelessExpert(own, { kind: "copy" });
      const constant = constants.find((one) => one.expert === expert);
      if (constant) return pagelessExpert(own, { kind: "constant", ...constant });
      return Float64Array.from(rows.subarray(pair * cols, (pair + 1) * cols));
    };
    const hasPage = (pair: number) => ![...ZEROS, ...COPIES, 9, 5].includes(chosen[pair] as number);
    const buffer = storage(gpu(), "page", page.bytes());
    const output = guarded(gpu(), "x", x);
    const step = combine(gpu(), {
      ...{ cols, topK, x: output },
      rows: storage(
        gpu(),
        "rows",
        rows.map((value, i) => (hasPage(Math.floor(i / cols)) ? value : Number.NaN)),
      ),
      routes: storage(gpu(), "routes", packRoutes(routes)),
      counts: storage(gpu(), "counts", routes.counts),
      pageless: {
        zeros: [{ first: 0, count: 3 }],
        copies: [
          { first: 12, count: 4 },
          { first: 7, count: 1 },
        ],
        constants: constants.map(({ expert, base }) => ({ expert, vector: { buffer, base, length: cols } })),
        ...{ input: storage(gpu(), "input", input), inputScale },
        logits: storage(gpu(), "logits", Float32Array.from(logits)),
      },
    });
    await runSteps(gpu(), [step], { tokens });
    const all = chosen.flatMap((_, pair) => [...outputOf(pair)]);
    const expected = reference(all, routes.weights, topK, x);
    expectClose(await outputFloats(gpu(), output, x.length), expected, 1e-6);
  }

  test("experts without a page", async () => {
    await combinedPageless({ topK: 1, tokens: 513 });
    await combinedPageless({ topK: 16, tokens: 3, inputScale: 2 });
    await combinedPageless({ topK: 4, tokens: 1, inputScale: 0.5 });
  });

  test("one route", () => combined({ cols: 64, topK: 1, tokens: 4 }));
  test("counts below the most", () => combined({ cols: 64, topK: 3, tokens: 5, counts: [0, 1, 2, 3, 0] }));
});
