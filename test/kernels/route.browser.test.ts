import { describe, expect, test } from "vitest";
import type { ExpertRange } from "../../src/kernels/pageless.ts";
import {
  ABSENT,
  DAMAGED,
  ELSEWHERE,
  type Gate,
  ROW_HEAD_WORDS,
  type RouteArgs,
  type RouteGroups,
  route,
  rowHead,
} from "../../src/kernels/route.ts";
import { route as reference } from "../reference/index.ts";
import { expectClose, guarded, onGpu, outputWords, poisoned, runSteps, storage } from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";
import { WeightPage } from "../support/weight_page.ts";
import { unpackRoutes } from "./routes.ts";

/** WGSL's exp is good to a few units in the last place for the logits a router makes. */
const TOLERANCE = 1e-6;

const GATES: readonly Gate[] = ["softmax", "sigmoid", "sqrt-softplus", "relu"];
const SITE = 11;
const LOWEST = -3.4028234e38;

interface Case {
  readonly experts: number;
  readonly topK: number;
  /** [tokens, experts] */
  readonly logits: Float32Array<ArrayBuffer>;
  readonly gate?: Gate;
  readonly groups?: RouteGroups;
  readonly limit?: { readonly rule: "top-p" | "threshold"; readonly least: number };
  /** At most `topK`, which it is unless told. */
  readonly k?: number;
  readonly temperature?: number;
  readonly takesAll?: boolean;
  readonly equal?: RouteArgs["equal"];
  readonly shape?: { readonly function: keyof typeof FUNCTIONS; readonly bias?: Float32Array<ArrayBuffer> };
  readonly renormalise?: boolean;
  readonly weightScale?: number;
  readonly deviation?: number;
  readonly dropped?: readonly ExpertRange[];
  /** [experts] */
  readonly selectionBias?: Float32Array<ArrayBuffer>;
  /** Experts without a slot. */
  readonly absent?: readonly number[];
  /** Experts that another wave computes. */
  readonly elsewhere?: readonly number[];
  /** The fault word before. */
  readonly fault?: number;
  readonly tolerance?: number;
}

const FUNCTIONS = { sigmoid: (l: number) => 1 / (1 + Math.exp(-l)), tanh: Math.tanh };

onGpu(
  "route",
  (gpu) => {
    /** Checks experts, slots, weights and counts; gives back the experts, the counts and the fault word. */
    async function routed(args: Case) {
      const { experts, topK, logits, renormalise = true, weightScale = 1 } = args;
      const {
        absent = [],
        elsewhere = [],
        selectionBias,
        gate,
        groups,
        limit,
        deviation,
        dropped,
        takesAll,
        equal,
        shape,
      } = args;
      const tokens = logits.length / experts;
      const slots = Array.from({ length: experts }, (_, e) => {
        if (elsewhere.includes(e)) return ELSEWHERE;
        return absent.includes(e) ? ABSENT : (e + 3) % experts;
      });
      // The site's row lies behind another's.
      const offset = gpu().device.limits.minStorageBufferOffsetAlignment;
      const numbers = {
        k: args.k ?? topK,
        ...(limit && { [limit.rule === "top-p" ? "p" : "threshold"]: limit.least }),
        temperature: args.temperature,
      };
      const words = ROW_HEAD_WORDS + experts;
      const rows = new Uint32Array(offset / 4 + words).fill(ABSENT);
      rows.set([...rowHead(SITE, numbers), ...slots], offset / 4);
      const pageTable = { buffer: storage(gpu(), "page table", rows), offset, size: 4 * words };
      const routes = poisoned(gpu(), "routes", 3 * tokens * topK);
      const counts = poisoned(gpu(), "counts", tokens);
      const fault = guarded(gpu(), "fault", Uint32Array.of(args.fault ?? ABSENT));
      const buffers = { logits: storage(gpu(), "logits", logits), pageTable, routes, counts, fault };
      const page = new WeightPage(seeded(1));
      const bias = selectionBias && { base: page.floats(selectionBias), length: experts };
      const shapeBias = shape?.bias && { base: page.floats(shape.bias), length: experts };
      const buffer = storage(gpu(), "page", page.bytes());
      const rules = {
        ...{ gate, groups, renormalise, weightScale, takesAll, equal, deviation, dropped },
        ...(bias && { selectionBias: { ...bias, buffer } }),
        shape: shape && { function: shape.function, bias: shapeBias && { ...shapeBias, buffer } },
      };
      await runSteps(gpu(), [route(gpu(), { experts, topK, ...rules, ...buffers })], { tokens });

      const ranked = logits.map((l) => (Number.isFinite(l) ? l : LOWEST));
      const weightRule = equal ?? (renormalise ? "renorm" : "raw");
      const isNumber = selectionBias?.map((b) => (Number.isFinite(b) ? b : 0));
      const expected = reference(ranked, {
        experts,
        topK,
        weightRule,
        gate,
        groups,
        ...numbers,
        selectionBias: isNumber,
        shape: shape && {
          function: FUNCTIONS[shape.function],
          bias: shape.bias?.map((b) => (Number.isFinite(b) ? b : LOWEST)),
        },
        deviation,
        dropped: dropped?.flatMap(({ first, count }) => Array.from({ length: count }, (_, i) => first + i)),
      });
      const found = unpackRoutes(await outputWords(gpu(), routes, 3 * tokens * topK));
      expect(Array.from(found.experts)).toEqual(Array.from(Uint32Array.from(expected.experts)));
      expect(Array.from(found.slots)).toEqual(Array.from(expected.experts, (e) => slots[e] ?? ABSENT));
      const dropsAll = expected.weights.every((w) => w === 0);
      if (dropsAll) expect(found.weights.every((w) => w === 0)).toBe(true);
      else {
        expectClose(
          found.weights,
          expected.weights.map((w) => w * Math.fround(weightScale)),
          args.tolerance ?? TOLERANCE,
        );
      }
      const expectedCounts = Array.from(expected.counts);
      expect(Array.from(await outputWords(gpu(), counts, tokens))).toEqual(expectedCounts);
      const [word] = await outputWords(gpu(), fault, 1);
      return { experts: Array.from(found.experts), counts: expectedCounts, fault: word };
    }

    const levelOf = seeded(77);
    const random = (tokens: number, experts: number, scale = 3) =>
      normals(seeded(tokens * experts), tokens * experts, scale);

    test.each([true, false])("one token and many, renormalised: %s", async (renormalise) => {
      expect.hasAssertions();
      for (const tokens of [1, 9]) {
        await routed({ experts: 60, topK: 4, logits: random(tokens, 60), renormalise });
      }
    });

    test("more experts than lanes", () => routed({ experts: 128, topK: 8, logits: random(5, 128) }));
    test("fewer experts than lanes", () => routed({ experts: 3, topK: 2, logits: random(4, 3) }));
    test("one expert of many", () =>
      routed({ experts: 16, topK: 1, logits: random(6, 16), renormalise: false }));
    test("all experts", () => routed({ experts: 20, topK: 20, logits: random(3, 20) }));
    test("a weight scale", () => routed({ experts: 16, topK: 4, logits: random(2, 16), weightScale: 2.5 }));
    test.each([true, false])("chosen with a bias, renormalised: %s", async (renormalise) => {
      const logits = random(7, 36);
      const selectionBias = normals(seeded(2), 36, 0.2);
      const unbiased = await routed({ experts: 36, topK: 4, logits, renormalise });
      const { experts, fault } = await routed({ experts: 36, topK: 4, logits, renormalise, selectionBias });
      expect(experts).not.toEqual(unbiased.experts);
      expect(fault).toBe(ABSENT);
    });
    test("a bias that is not a number is as none, and told", async () => {
      const selectionBias = Float32Array.of(NaN, 0.5, -Infinity, 0, NaN, 0.1);
      expect(await routed({ experts: 6, topK: 4, logits: random(3, 6), selectionBias })).toMatchObject({
        fault: DAMAGED,
      });
    });
    const sizes = [
      { experts: 8, topK: 1 },
      { experts: 8, topK: 2 },
      { experts: 8, topK: 8 },
      { experts: 60, topK: 8 },
      { experts: 128, topK: 1 },
      { experts: 128, topK: 8 },
      { experts: 512, topK: 2 },
      { experts: 512, topK: 16 },
    ];
    test.each(GATES)("%s, with a bias and without", async (gate) => {
      expect.hasAssertions();
      // How many there are is the same to every gate.
      for (const { experts, topK } of gate === "softmax" ? sizes : sizes.slice(2, 5)) {
        const renormalise = topK !== 2;
        const shape = { experts, topK, logits: random(experts === 60 ? 9 : 3, experts), gate, renormalise };
        await routed({ ...shape, weightScale: 2.5 });
        await routed({ ...shape, selectionBias: normals(seeded(topK), experts, 0.3) });
      }
    });

    test.each(GATES.slice(1))("%s far from 0", async (gate) => {
      const far = [-1e30, -1e4, -200, -88, -30, -16, -9, -5, -1, 0, 1, 5, 15, 30, 88, 200, 1e4, 1e30];
      for (const top of [far.length, 12, 9, 5]) {
        const logits = Float32Array.from(far.slice(0, top));
        for (const renormalise of [true, false]) {
          // WGSL's exp loses as many units in the last place as its argument is large.
          const tolerance = 5e-6;
          await routed({ experts: top, topK: Math.min(top, 8), logits, gate, renormalise, tolerance });
        }
      }
      expect.hasAssertions();
    });

    test("sigmoids that are 1 to f32 are told apart by their logits", async () => {
      const logits = Float32Array.of(30, 50, 40, 90, 60);
      const { experts } = await routed({ experts: 5, topK: 3, logits, gate: "sigmoid" });
      expect(experts).toEqual([3, 4, 1]);
    });

    describe.each<RouteGroups["by"]>(["best", "best-two"])("groups by their %s", (by) => {
      test.each(GATES)("%s", async (gate) => {
        expect.hasAssertions();
        const shapes = [
          [60, 4, 6, 2],
          [16, 4, 16, 4],
          [8, 2, 4, 2],
          [8, 1, 2, 1],
          [128, 8, 8, 4],
          [128, 8, 64, 8],
          [512, 8, 8, 3],
          [16, 4, 4, 4],
        ] as const;
        for (const [experts, topK, count, used] of gate === "softmax" ? shapes : shapes.slice(0, 2)) {
          const selectionBias = normals(seeded(count), experts, 0.3);
          const shape = { experts, topK, logits: random(4, experts), gate, groups: { count, used, by } };
          await routed(shape);
          await routed({ ...shape, renormalise: false, weightScale: 0.5, selectionBias });
        }
      });

      test("of equal groups the lower wins, and of equal experts in them", async () => {
        const levels = Float32Array.from({ length: 6 * 32 }, () => Math.floor(4 * levelOf()) / 2);
        await routed({
          experts: 32,
          topK: 6,
          logits: levels,
          gate: "sigmoid",
          groups: { count: 8, used: 3, by },
        });
        const flat = new Float32Array(16).fill(0.5);
        const { experts } = await routed({
          experts: 16,
          topK: 6,
          logits: flat,
          groups: { count: 4, used: 2, by },
        });
        expect(experts).toEqual([0, 1, 2, 3, 4, 5]);
      });

      test("all chosen from one group", async () => {
        const logits = random(5, 64).map((l, i) => l + (Math.floor((i % 64) / 8) === 6 ? 40 : 0));
        const groups = { count: 8, used: 1, by };
        const { experts } = await routed({ experts: 64, topK: 8, logits, gate: "sqrt-softplus", groups });
        for (const expert of experts) expect(Math.floor(expert / 8)).toBe(6);
      });

      test("what is not a number has a score of 0, and is told", async () => {
        const logits = Float32Array.from([NaN, -1, -2, Infinity, 1, NaN, 2, 3]);
        const shape = { experts: 8, topK: 4, logits, gate: "sigmoid" as const };
        expect(await routed({ ...shape, groups: { count: 4, used: 2, by } })).toMatchObject({
          experts: [7, 6, 4, 5],
          fault: DAMAGED,
        });
        expect(await routed({ ...shape, topK: 8 })).toMatchObject({
          experts: [7, 6, 4, 1, 2, 0, 3, 5],
          fault: DAMAGED,
        });
      });
    });

    test("one best expert or two good ones", async () => {
      const logits = Float32Array.of(3, -9, 2, 2.5, -9, -9, 0, 0);
      const shape = { experts: 8, topK: 2, logits, gate: "sigmoid" as const };
      const best = await routed({ ...shape, groups: { count: 4, used: 1, by: "best" } });
      expect(best.experts).toEqual([0, 1]);
      const two = await routed({ ...shape, groups: { count: 4, used: 1, by: "best-two" } });
      expect(two.experts).toEqual([3, 2]);
    });

    describe.each<"top-p" | "threshold">(["top-p", "threshold"])("%s", (rule) => {
      test.each([true, false])("one token and 65, renormalised: %s", async (renormalise) => {
        for (const [experts, tokens, least] of [
          [8, 1, rule === "top-p" ? 0.4 : 0.1],
          [16, 65, rule === "top-p" ? 0.4 : 0.1],
          [130, 9, rule === "top-p" ? 0.9 : 0.02],
        ] as const) {
          const shape = { experts, topK: experts, logits: random(tokens, experts, 1.5), renormalise };
          const { counts } = await routed({ ...shape, limit: { rule, least }, weightScale: 1.5 });
          if (tokens > 1) expect(new Set(counts).size).toBeGreaterThan(2);
        }
      });

      test("no more than there is room for", async () => {
        const least = rule === "top-p" ? 0.95 : 0.01;
        const shape = { experts: 20, topK: 3, logits: random(7, 20, 1), limit: { rule, least } };
        const { counts } = await routed({ ...shape, renormalise: false });
        expect(Math.max(...counts)).toBe(3);
      });

      test("all experts", async () => {
        const least = rule === "top-p" ? 1 : 0;
        const shape = { experts: 36, topK: 36, logits: random(5, 36, 4), limit: { rule, least } };
        expect((await routed({ ...shape, renormalise: false })).counts).toEqual(new Array(5).fill(36));
        const one = { experts: 1, topK: 1, logits: Float32Array.of(-3), limit: { rule, least } };
        expect((await routed(one)).counts).toEqual([1]);
      });

      test("an expert without a slot is a fault only where it is kept", async () => {
        const shape = { experts: 4, topK: 4, logits: Float32Array.of(0, 5, 2, 4) };
        const limited = { ...shape, limit: { rule, least: rule === "top-p" ? 0.8 : 0.2 } };
        expect(await routed({ ...limited, absent: [0, 2] })).toMatchObject({ fault: ABSENT, counts: [2] });
        expect(await routed({ ...limited, absent: [3] })).toMatchObject({ fault: SITE, counts: [2] });
      });

      test("what is not a number adds nothing, and is told", async () => {
        const logits = Float32Array.of(NaN, 1, Infinity, 1);
        const limited = { experts: 4, topK: 4, logits, limit: { rule, least: rule === "top-p" ? 0.9 : 0.5 } };
        expect(await routed(limited)).toMatchObject({ fault: DAMAGED, counts: [2] });
      });
    });

    test("a sum that equals p takes one more, of equals the lower expert", async () => {
      const shape = { experts: 4, topK: 4, logits: new Float32Array(4), renormalise: false };
      const upTo = (least: number) => routed({ ...shape, limit: { rule: "top-p", least } });
      expect((await upTo(0.5)).experts).toEqual([0, 1, 2, ABSENT]);
      expect((await upTo(0.49)).experts).toEqual([0, 1, ABSENT, ABSENT]);
      expect((await upTo(0)).counts).toEqual([1]);
    });

    test("a probability that equals the threshold is kept, and there may be none", async () => {
      const logits = Float32Array.of(0, 0, 0, 0, 0, 3, 0, 0);
      const shape = { experts: 4, topK: 4, logits, renormalise: true };
      const from = (least: number) => routed({ ...shape, limit: { rule: "threshold", least } });
      expect((await from(0.25)).counts).toEqual([4, 1]);
      expect((await from(0.26)).counts).toEqual([0, 1]);
    });

    test("a threshold of sigmoids", async () => {
      const limit = { rule: "threshold", least: 0.5 } as const;
      const { counts } = await routed({
        ...{ experts: 24, topK: 24, logits: random(6, 24, 1), gate: "sigmoid", limit },
        renormalise: false,
      });
      expect(new Set(counts).size).toBeGreaterThan(1);
    });

    test("all experts that a ReLU lets through: none, some, all, and zeros are not among them", async () => {
      const limit = { rule: "threshold", least: 2 ** -126 } as const;
      const logits = Float32Array.of(-1, 0, -0, -3, 1, 0, 1, -2, 3, 1e-30, 2, 1);
      const shape = { experts: 4, topK: 4, gate: "relu", limit } as const;
      expect((await routed({ ...shape, logits, renormalise: false })).counts).toEqual([0, 2, 4]);
      expect((await routed({ ...shape, logits, renormalise: true })).experts.slice(4, 6)).toEqual([0, 2]);
      const many = { ...shape, experts: 20, topK: 20, renormalise: false };
      const { counts } = await routed({ ...many, logits: random(513, 20) });
      expect(new Set(counts).size).toBeGreaterThan(5);
    });

    describe("numbers that may change", () => {
      test.each([true, false])("fewer experts than there are rows, renormalised: %s", async (renormalise) => {
        for (const k of [1, 3, 7, 8]) {
          const { counts } = await routed({ experts: 60, topK: 8, k, logits: random(5, 60), renormalise });
          expect(counts).toEqual(new Array(5).fill(k));
        }
      });

      test("a chunk of 513 tokens, each with a number of its own", async () => {
        const limit = { rule: "top-p", least: 0.7 } as const;
        const shape = { experts: 24, topK: 8, k: 6, logits: random(513, 24, 1), limit, temperature: 0.8 };
        const { counts } = await routed(shape);
        expect(new Set(counts).size).toBeGreaterThan(2);
        expect(Math.max(...counts)).toBeLessThanOrEqual(6);
      });

      test.each(GATES)("a temperature for %s", async (gate) => {
        for (const temperature of [0.25, 0.9, 3]) {
          const shape = { experts: 40, topK: 6, logits: random(7, 40, 2), gate, temperature };
          const plain = await routed({ ...shape, renormalise: false });
          expect((await routed({ ...shape, temperature: 1, renormalise: false })).experts).toEqual(
            plain.experts,
          );
          await routed({ ...shape, selectionBias: normals(seeded(3), 40, 0.1) });
          await routed({ ...shape, groups: { count: 8, used: 3, by: "best-two" } });
        }
      });

      test("a temperature so low that one score is all", async () => {
        const logits = Float32Array.of(30, -4, 30.5, 29, 30.5, 0);
        const cold = { experts: 6, topK: 4, logits, temperature: 1e-6, renormalise: false };
        expect((await routed(cold)).experts).toEqual([2, 4, 0, 3]);
      });

      test.each(["top-p", "threshold"] as const)("%s of the best by bias or in groups", async (rule) => {
        const limit = { rule, least: rule === "top-p" ? 0.3 : 0.08 };
        const shape = { experts: 32, topK: 8, logits: random(9, 32, 1.5), limit };
        for (const renormalise of [true, false]) {
          const biased = { ...shape, renormalise, selectionBias: normals(seeded(4), 32, 0.05) };
          expect(new Set((await routed(biased)).counts).size).toBeGreaterThan(1);
          await routed({ ...shape, renormalise, groups: { count: 8, used: 4, by: "best" } });
        }
      });
    });

    describe("all experts", () => {
      const all = { experts: 20, topK: 20, takesAll: true };
      test.each([true, false])("in their order, renormalised: %s", async (renormalise) => {
        const ordered = Float32Array.from({ length: 60 }, (_, i) => -(i % 20) / 4);
        const { experts } = await routed({ ...all, logits: ordered, renormalise });
        expect(experts.slice(0, 20)).toEqual(Array.from({ length: 20 }, (_, e) => e));
      });
      test("without a slot, one is a fault", async () => {
        const logits = new Float32Array(20);
        expect(await routed({ ...all, logits, absent: [13] })).toMatchObject({ fault: SITE });
      });
      test("but those that numbers leave out", async () => {
        await routed({ ...all, k: 5, logits: random(3, 20) });
        await routed({ ...all, limit: { rule: "threshold", least: 0.05 }, logits: random(3, 20, 1) });
      });
    });

    test.each(["one", "one-over-share"] as const)("weights of %s", async (equal) => {
      const shape = { experts: 12, topK: 12, logits: random(5, 12, 1.5), equal, weightScale: 0.5 };
      await routed({ ...shape, k: 1 });
      await routed({ ...shape, k: 5, gate: "sigmoid" });
      const { counts } = await routed({ ...shape, limit: { rule: "threshold", least: 0.3 } });
      expect(counts).toContain(0);
      expect(Math.max(...counts)).toBeGreaterThan(0);
    });

    test.each(["sigmoid", "tanh"] as const)(
      "%s of the logits, then a bias and a temperature",
      async (name) => {
        const bias = normals(seeded(6), 36, 0.5);
        const shape = { experts: 36, topK: 5, logits: random(9, 36, 2), renormalise: false };
        const plain = await routed(shape);
        await routed({ ...shape, shape: { function: name }, temperature: 0.3 });
        const biased = await routed({ ...shape, shape: { function: name, bias }, temperature: 0.3 });
        expect(biased.experts).not.toEqual(plain.experts);
        await routed({
          ...shape,
          shape: { function: name, bias },
          selectionBias: normals(seeded(7), 36, 0.02),
        });
      },
    );

    test("a bias of the logits that is not a number ranks its expert last, and is told", async () => {
      const bias = Float32Array.of(0, NaN, 0, 1);
      const found = { experts: 4, topK: 4, logits: Float32Array.of(1, 9, 2, 0) };
      const { experts, fault } = await routed({ ...found, shape: { function: "tanh", bias } });
      expect([experts.at(-1), fault]).toEqual([1, DAMAGED]);
    });

    test.each([0.5, 2])("logits with a deviation of %f", async (deviation) => {
      expect.hasAssertions();
      for (const [experts, topK, tokens] of [
        [2, 1, 3],
        [12, 2, 513],
        [130, 8, 4],
      ] as const) {
        const logits = random(tokens, experts).map((l) => l + 2);
        await routed({ experts, topK, logits, deviation });
        await routed({ experts, topK, logits, deviation, renormalise: false });
        await routed({ experts, topK, logits, deviation, gate: "sigmoid" });
      }
      // Equal ones have none, and stay.
      await routed({ experts: 5, topK: 2, logits: new Float32Array(5).fill(0.3), deviation });
      const damaged = Float32Array.of(1, NaN, 3, -1);
      const { fault } = await routed({
        experts: 4,
        topK: 2,
        logits: damaged,
        deviation: 1e-30,
        tolerance: 1,
      });
      expect(fault).toBe(DAMAGED);
    });

    test.each([
      ["none", []],
      ["the last", [{ first: 11, count: 1 }]],
      ["the first and some between", [0, 4, 8].map((first) => ({ first, count: 2 }))],
      ["all", [{ first: 0, count: 12 }]],
    ])("of the chosen weigh nothing: %s", async (_, dropped) => {
      expect.hasAssertions();
      for (const topK of [1, 3, 12]) {
        for (const tokens of [1, 65]) {
          const shape = { experts: 12, topK, logits: random(tokens, 12), dropped };
          await routed({ ...shape, weightScale: 1.5 });
          await routed({ ...shape, deviation: 0.7 });
        }
      }
    });

    test("those that weigh nothing may be far above, and their slots are passed on", async () => {
      const logits = Float32Array.of(1, 200, 2, 300, -1, 0);
      const dropped = [
        { first: 1, count: 1 },
        { first: 3, count: 1 },
      ];
      const shape = { experts: 6, topK: 4, logits, dropped, elsewhere: [1, 3] };
      expect(await routed(shape)).toMatchObject({ experts: [3, 1, 2, 0], fault: ABSENT });
    });

    test("large logits", () =>
      routed({ experts: 16, topK: 4, logits: random(4, 16, 1e3), renormalise: false }));

    test("of equal logits the lower expert wins", async () => {
      const logits = Float32Array.from([1, 2, 0, 2, 1, 2, 1, 1, -0, 0, 0, -0, 0, -1, 0, -0]);
      const { experts } = await routed({ experts: 8, topK: 5, logits });
      expect(experts).toEqual([1, 3, 5, 0, 4, 0, 1, 2, 3, 4]);
    });

    test("what is not a number ranks last", async () => {
      const logits = Float32Array.from([NaN, 1, -Infinity, 2, NaN, 3, NaN, NaN, 5, Infinity, -4, NaN]);
      const { experts, fault } = await routed({ experts: 6, topK: 4, logits });
      expect(experts).toEqual([5, 3, 1, 0, 2, 4, 0, 1]);
      expect(fault).toBe(DAMAGED);
    });

    test.each([true, false])("no numbers at all, renormalised: %s", async (renormalise) => {
      const logits = new Float32Array(6).fill(NaN);
      const { experts, fault } = await routed({ experts: 6, topK: 2, logits, renormalise });
      expect(experts).toEqual([0, 1]);
      expect(fault).toBe(DAMAGED);
    });

    test("an expert without a slot that is chosen is a fault", async () => {
      const logits = Float32Array.from([0, 1, 2, 3, 3, 2, 1, 0]);
      expect(await routed({ experts: 4, topK: 2, logits, absent: [2] })).toMatchObject({ fault: SITE });
      expect(await routed({ experts: 4, topK: 2, logits, absent: [0, 1] })).toMatchObject({ fault: SITE });
    });

    test("an expert without a slot that is not chosen is none", async () => {
      const logits = Float32Array.from([0, 1, 2, 3]);
      expect(await routed({ experts: 4, topK: 2, logits, absent: [0, 1] })).toMatchObject({ fault: ABSENT });
    });

    test("an expert that another wave computes is none, and its slot is passed on", async () => {
      const logits = Float32Array.from([0, 1, 2, 3, 3, 2, 1, 0]);
      expect(await routed({ experts: 4, topK: 2, logits, elsewhere: [2, 0] })).toMatchObject({
        fault: ABSENT,
      });
      expect(await routed({ experts: 4, topK: 2, logits, elsewhere: [2], absent: [1] })).toMatchObject({
        fault: SITE,
      });
    });

    test("the lowest site's fault is kept", async () => {
      const logits = Float32Array.from([0, 1, 2, 3]);
      const missing = { experts: 4, topK: 2, logits, absent: [3] };
      expect(await routed({ ...missing, fault: SITE - 2 })).toMatchObject({ fault: SITE - 2 });
      expect(await routed({ ...missing, fault: SITE + 2 })).toMatchObject({ fault: SITE });
    });
  },
  true,
);
