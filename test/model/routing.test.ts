import { describe, expect, test } from "vitest";
import type { EngineService, RoutingChange, RoutingNumbers } from "../../src/api.ts";
import { SluiceError } from "../../src/errors.ts";
import { rowHead } from "../../src/kernels/route.ts";
import { planModel } from "../../src/model/archs/index.ts";
import { moeLayers } from "../../src/model/plan.ts";
import { Routing } from "../../src/model/routing.ts";
import { requireRunnable } from "../../src/model/runnable.ts";
import { Routing as ModelRouting } from "../../src/routing.ts";
import { specOf } from "../../src/source/spec.ts";
import { MemoryBackend } from "../../src/store/memory.ts";
import { ModelStore } from "../../src/store/model_store.ts";
import { type RoutedOptions, routedModel } from "../support/routed_model.ts";

async function fileOf(options: RoutedOptions) {
  return (await new ModelStore(new MemoryBackend(0)).open(specOf(routedModel(options)))).file;
}

const planOf = async (options: RoutedOptions) => planModel(await fileOf(options));

const routingOf = async (options: RoutedOptions) => new Routing(await planOf(options));

function refusal(routing: Routing, change: RoutingChange): string {
  const before = routing.layers;
  try {
    routing.change(change);
  } catch (error) {
    expect(error).toBeInstanceOf(SluiceError);
    expect(error).toMatchObject({ code: "bad-request" });
    expect(routing.layers).toEqual(before);
    return (error as SluiceError).remedy;
  }
  throw new Error("nothing was refused");
}

test("the head of a row is what was set, told once, of the sites that changed", async () => {
  const routing = await routingOf({ k: 3 });
  const heads: [number, Uint32Array][] = [];
  const show = () => {
    heads.length = 0;
    return routing.show({ showHead: (site, head) => heads.push([site, head]) });
  };
  expect(show()).toBe(true);
  expect(heads).toEqual([0, 1, 2].map((site) => [site, rowHead(site, { k: 3 })]));
  expect(show()).toBe(false);
  routing.change({ numbers: { p: 0.5 }, layers: [1] });
  routing.change({ numbers: { temperature: 4 }, layers: [1] });
  expect(show()).toBe(true);
  const floats = Float32Array.of(0.5, 0, 0.25);
  expect(heads).toEqual([[1, Uint32Array.of(1, 3, ...new Uint32Array(floats.buffer))]]);
});

test("a key names the numbers, and is empty for the model's own", async () => {
  const routing = await routingOf({ k: 3 });
  expect(routing.key).toBe("");
  routing.change({ numbers: { k: 2 } });
  const { key } = routing;
  expect(key).not.toBe("");
  routing.change({ numbers: { k: 3 } });
  expect(routing.key).toBe("");
  routing.change({ numbers: { k: 2, p: 1 } });
  expect(routing.key).toBe(key);
  routing.change({});
  expect(routing.key).toBe("");
});

describe("what may be set", () => {
  test.each<[RoutingChange["numbers"] & object, RegExp]>([
    [{ k: 0 }, /whole number from 1 to 3 for k/],
    [{ k: 1.5 }, /from 1 to 3/],
    [{ k: 4 }, /from 1 to 3/],
    [{ p: 0 }, /above 0 to 1 for p/],
    [{ p: 1.01 }, /above 0 to 1/],
    [{ p: Number.NaN }, /above 0 to 1/],
    [{ threshold: 1 }, /from 0 below 1 for threshold/],
    [{ threshold: -0.1 }, /from 0 below 1/],
    [{ temperature: 0 }, /for temperature/],
    [{ k: "2" as unknown as number }, /from 1 to 3/],
    [{ size: 2 } as object, /k, p, threshold, temperature/],
    [{ constructor: 1 } as object, /k, p, threshold, temperature/],
  ])("%o is refused", async (numbers, remedy) => {
    expect(refusal(await routingOf({ k: 3 }), { numbers })).toMatch(remedy);
  });

  test("of layers that there are", async () => {
    const routing = await routingOf({});
    expect(refusal(routing, { numbers: { k: 1 }, layers: [0, 3] })).toMatch(/0, 1, 2/);
  });

  test.each<[string, RoutedOptions, number | undefined]>([
    ["any k", { k: 2, rule: { anyK: true } }, 8],
    ["top-p", { rule: { name: "top-p", p: 0.4 } }, 8],
    ["all", { rule: { name: "all" } }, 8],
    ["what requests name", { input: "given" }, undefined],
    ["draws", { input: "draw" }, undefined],
  ])("%s: the most that k may be", async (_, options, most) => {
    const [layer] = (await routingOf(options)).layers;
    expect(layer?.ranges.k?.most).toBe(most);
  });
});

test("the model's own numbers are those of its rule", async () => {
  const own = async (options: RoutedOptions) => (await routingOf(options)).layers[0]?.own;
  const plain = { k: 8, p: 1, threshold: 0, temperature: 1 };
  expect(await own({ rule: { name: "top-p", p: 0.25 } })).toEqual({ ...plain, p: 0.25 });
  expect(await own({ rule: { name: "threshold", threshold: 0.5 } })).toEqual({ ...plain, threshold: 0.5 });
  expect(await own({ k: 2, rule: { temperature: 0.5, anyK: true } })).toEqual({
    ...plain,
    k: 2,
    temperature: 0.5,
  });
});

test.each<RoutedOptions>([
  { rule: { gate: "sigmoid" } },
  { rule: { gate: "relu", name: "threshold", threshold: 2.5 } },
  { rule: { temperature: 1e-7 } },
  { input: "given" },
])("what was read of %o may be set again", async (options) => {
  const routing = await routingOf(options);
  const [first] = routing.layers;
  routing.change({ numbers: first?.numbers });
  expect(routing.layers[0]?.numbers).toEqual(first?.own);
  expect(routing.key).toBe("");
});

test.each<[unknown, unknown]>([
  [null, undefined],
  [5, undefined],
  [{ k: 1 }, 0],
  [{ k: 1 }, null],
  ["reset", 1],
])("numbers %o of layers %o never reach the engine", async (numbers, layers) => {
  const routing = new ModelRouting({} as EngineService);
  const change =
    numbers === "reset"
      ? routing.reset(layers as number[])
      : routing.set(numbers as Partial<RoutingNumbers>, layers as number[]);
  await expect(change).rejects.toMatchObject({ name: "SluiceError", code: "bad-request" });
});

test("a temperature too small to divide by is refused", async () => {
  await expect(planOf({ rule: { temperature: 1e-39 } })).rejects.toThrow(/too small to divide by/);
});

describe("experts that a request names", () => {
  test("are chosen whatever a bias for other routers says", async () => {
    const file = await fileOf({ input: "given" });
    const bias = { name: "blk.0.exp_probs_b.bias", type: "F32", shape: [8], offset: 0, bytes: 32 } as const;
    const [site] = moeLayers(planModel({ ...file, tensors: [...file.tensors, bias] }));
    expect(site?.moe.router.logits.selectionBias).toBeUndefined();
  });

  test.each<RoutedOptions["rule"] & object>([{ gate: "relu" }, { temperature: 4 }])(
    "%o is refused",
    async (rule) => {
      await expect(planOf({ input: "given", rule })).rejects.toThrow(/beside experts given/);
    },
  );
});

test("expert-choice is refused, and why", async () => {
  const plan = await planOf({ rule: { name: "expert-choice" } });
  expect(() => requireRunnable(plan)).toThrow(
    /expert-choice selection \(an expert takes the tokens that suit it best/,
  );
});
