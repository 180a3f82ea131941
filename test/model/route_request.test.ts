import { beforeAll, describe, expect, test } from "vitest";
import type { RouteRequest } from "../../src/api.ts";
import { planModel } from "../../src/model/archs/index.ts";
import type { ModelPlan } from "../../src/model/plan.ts";
import {
  asksRequests,
  drawnExpert,
  knownRoutes,
  planRoutes,
  requestRows,
  requestStride,
} from "../../src/model/route_request.ts";
import { requireRunnable } from "../../src/model/runnable.ts";
import { readGguf } from "../../src/source/gguf.ts";
import { openSource } from "../../src/source/open.ts";
import { specOf } from "../../src/source/spec.ts";
import { drawn, siteSeed } from "../reference/request.ts";
import { failure } from "../support/engine.ts";
import { type RoutedOptions, routedModel } from "../support/routed_model.ts";

async function planOf(options: RoutedOptions): Promise<ModelPlan> {
  const plan = planModel(await readGguf(await openSource(specOf(routedModel(options)))));
  requireRunnable(plan);
  return plan;
}

describe("what a request may say", () => {
  const plans = new Map<string, ModelPlan>();
  beforeAll(async () => {
    plans.set("plain", await planOf({}));
    plans.set("task", await planOf({ input: "task", tasks: 3 }));
    plans.set("given", await planOf({ input: "given", k: 2 }));
    plans.set("draw", await planOf({ input: "draw" }));
  });

  test.each<[string, RouteRequest, RegExp, object]>([
    ["plain", { task: 0 }, /by no task/, {}],
    ["plain", { experts: [0] }, /by no experts that a request names/, {}],
    ["task", { task: 0, routeSeed: 1 }, /by no draw/, {}],
    ["task", {}, /names no task/, { most: 2 }],
    ["task", { task: 3 }, /task is 3/, { most: 2 }],
    ["task", { task: 0.5 }, /task is 0.5/, { most: 2 }],
    ["given", {}, /names no experts/, { layers: 3 }],
    ["given", { experts: [[0], [1]] }, /2 lists/, { lists: 2, layers: 3 }],
    ["given", { experts: [[0], [8], [1]] }, /expert of layer 1 is 8/, { layer: 1, most: 7 }],
    ["given", { experts: [-1] }, /expert of layer 0 is -1/, { layer: 0, most: 7 }],
    ["given", { experts: [0, 1, 2] }, /layer 0 is given 3 experts/, { layer: 0, most: 2 }],
    ["draw", { routeSeed: 2 ** 32 }, /routeSeed is 4294967296/, { most: 2 ** 32 - 1 }],
  ])("%s models, %o", async (name, request, message, details) => {
    const error = await failure("bad-request", () => planRoutes(plans.get(name) as ModelPlan, request));
    expect(error.message).toMatch(message);
    expect(error.details).toMatchObject(details);
  });

  test("nothing, of models that ask for nothing", () => {
    const plan = plans.get("plain") as ModelPlan;
    expect(asksRequests(plan)).toBe(false);
    expect(knownRoutes(plan, planRoutes(plan, {}), 0, 4)).toEqual([undefined, undefined, undefined]);
  });

  test("a set for all layers or one for each, in any order and as often as one likes", () => {
    const plan = plans.get("given") as ModelPlan;
    const known = (request: RouteRequest) => knownRoutes(plan, planRoutes(plan, request), 5, 3);
    expect(known({ experts: [5, 1, 5] })).toEqual([
      [1, 5],
      [1, 5],
      [1, 5],
    ]);
    expect(known({ experts: [[], [7], [3, 2]] })).toEqual([[], [7], [2, 3]]);
    const rows = requestRows(plan, planRoutes(plan, { experts: [[], [7], [3, 2]] }));
    const words = requestStride(plan) / 4;
    expect([0, 1, 2].map((site) => rows[site * words + 2])).toEqual([0, 1 << 7, 0b1100]);
  });

  test("draws are those of the kernel's formula, and of a chunk each token's", () => {
    const plan = plans.get("draw") as ModelPlan;
    for (const seed of [0, 1, 2 ** 32 - 1]) {
      for (let place = 0; place < 100; place++) {
        expect(drawnExpert(seed, place % 5, place, 24)).toBe(drawn(siteSeed(seed, place % 5), place, 24));
      }
    }
    const routes = planRoutes(plan, { routeSeed: 6 });
    for (const [site, experts] of knownRoutes(plan, routes, 30, 4).entries()) {
      const each = [30, 31, 32, 33].map((position) => drawn(siteSeed(6, site), position, 8));
      expect(experts).toEqual([...new Set(each)]);
    }
  });
});

test("routers that cannot be are refused by name", async () => {
  const plan = await planOf({ input: "token", k: 1, size: 32 });
  const layers = plan.layers.map((layer) => structuredClone(layer));
  const [first] = layers;
  const block = first?.blocks[1];
  if (block?.kind !== "feed-forward" || !block.moe) throw new Error("no site");
  const { router } = block.moe;
  const withRouter = (changes: object): ModelPlan => {
    const moe = { ...block.moe, router: { ...router, ...changes } } as NonNullable<typeof block.moe>;
    const blocks = [...(first?.blocks.slice(0, 1) ?? []), { ...block, moe }];
    return { ...plan, layers: [{ blocks }, ...plan.layers.slice(1)] };
  };
  for (const [changes, what] of [
    [{ input: "previous-layer", table: undefined }, /first router fed from the layer before/],
    [{ table: { weight: { ...router.table?.weight, name: "other" } } }, /several routers of tokens/],
    [{ input: "task", table: undefined }, /reads a task/],
    [
      { input: "draw", logits: { ...router.logits, layers: [] }, selection: { rule: "top-k", k: 2 } },
      /draws/,
    ],
    [{ input: "given" }, /a router of 1 layers/],
  ] as const) {
    expect(() => requireRunnable(withRouter(changes))).toThrow(what);
  }
});
