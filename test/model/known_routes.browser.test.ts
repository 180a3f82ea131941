import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { RouteRequest } from "../../src/api.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { planRoutes } from "../../src/model/route_request.ts";
import { MemoryBackend } from "../../src/store/memory.ts";
import { ModelStore } from "../../src/store/model_store.ts";
import { decodeLogits, type OpenRunner, openCold, openRunner, prefillLogits } from "../support/engine.ts";
import { nmse } from "../support/golden.ts";
import { openGpu } from "../support/gpu.ts";
import { integer, seeded } from "../support/random.ts";
import { type RoutedOptions, routedLogits, routedModel } from "../support/routed_model.ts";
import { unsteady } from "../support/unsteady_store.ts";

const VOCABULARY = 96;
const random = seeded(31);
const prompt = Array.from({ length: 40 }, () => integer(random, VOCABULARY));

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openGpu();
});
afterAll(() => gpu.destroy());

const tuning = (gpuExperts: `${number}%`, chunkTokens = 8) =>
  ({ chunkTokens, contextTokens: 64, memory: { gpuExperts } }) as const;

function asked(open: OpenRunner, request: RouteRequest): OpenRunner {
  open.runner.request(planRoutes(open.plan, request));
  return open;
}

/** How often the program had to wait for experts since the last time. */
function newFaults({ pager }: OpenRunner, before = 0): number {
  return pager.counters.faults - before;
}

const sources: [string, RoutedOptions, RouteRequest][] = [
  ["the layer before", { input: "previous-layer" }, {}],
  ["the token", { input: "token", k: 1, size: 32 }, {}],
  ["the request", { input: "given", k: 2 }, { experts: [[0, 5], [3], [7, 1]] }],
  ["a draw for each token", { input: "draw" }, { routeSeed: 3 }],
  ["a draw for the sequence", { input: "draw", draws: "sequence" }, { routeSeed: 4 }],
];

describe("routes known before their layer runs, two slots of eight", () => {
  test.each(sources)("by %s: no fault, once host memory has every expert", async (_, options, request) => {
    const open = asked(await openCold(gpu, routedModel(options), tuning("25%")), request);
    await decodeLogits(open, prompt);
    await prefillLogits(open, prompt);
    const before = newFaults(open);
    open.pager.activity.ask();
    await decodeLogits(open, prompt);
    const misses = open.pager.activity.ask().map((site) => site.misses.reduce((sum, n) => sum + n, 0));
    // The first layer has none before it.
    const early = options.input === "previous-layer" ? misses.slice(1) : misses;
    expect(early).toEqual(early.map(() => 0));
    if (early === misses) expect(newFaults(open, before)).toBe(0);
    else expect(misses[0]).toBeGreaterThan(0);
  });

  test("by the layer's own input: a fault for nearly every token", async () => {
    const open = await openCold(gpu, routedModel({ k: 1 }), tuning("25%"));
    await decodeLogits(open, prompt);
    const before = newFaults(open);
    await decodeLogits(open, prompt);
    expect(newFaults(open, before)).toBeGreaterThan(prompt.length / 2);
  });

  test("a request's own: none after the first, for prompts too, and no byte more", async () => {
    const [, , [, options, request] = []] = sources as [unknown, unknown, (typeof sources)[number]];
    const memory = { gpuExperts: "25%", host: 0 } as const;
    const open = asked(
      await openCold(gpu, routedModel(options as RoutedOptions), { ...tuning("25%"), memory }),
      request as RouteRequest,
    );
    await prefillLogits(open, prompt.slice(0, 8));
    const before = newFaults(open);
    const { expertsMissed } = open.pager.counters;
    await prefillLogits(open, prompt);
    await decodeLogits(open, prompt);
    expect(newFaults(open, before)).toBe(0);
    expect(open.pager.counters.expertsMissed).toBe(expertsMissed);
  });

  test.each([...sources, ["the layer's own input", {}, {}] as (typeof sources)[number]])(
    "by %s: a store that does not keep up is a fault, and never a number",
    async (_, options, request) => {
      const file = routedModel(options);
      const resident = asked(await openRunner(gpu, file, tuning("100%")), request);
      const pages = new Set(resident.pages.sites.flat().map((page) => page?.index));
      const tokens = prompt.slice(0, 7);
      const wanted = [await prefillLogits(resident, tokens), await decodeLogits(resident, tokens)];
      // Of few pages none may come before a slow GPU asks for it.
      const isFew = options.input === "given" || options.draws === "sequence";
      const delayMs: [number, number] = isFew ? [200, 300] : [5, 15];
      for (const [seed, gpuExperts] of ["0%", "25%"].entries()) {
        const store = new ModelStore(new MemoryBackend(Number.POSITIVE_INFINITY));
        const late = unsteady(store, { seed, delayMs, pages: (i) => pages.has(i) });
        const memory = { gpuExperts: gpuExperts as `${number}%`, host: 0 };
        const load = { ...tuning("25%"), memory, experts: { trace: seed === 1 } };
        const open = asked(await openCold(gpu, file, load, late), request);
        expect([await prefillLogits(open, tokens), await decodeLogits(open, tokens)]).toEqual(wanted);
        expect(newFaults(open)).toBeGreaterThan(0);
      }
    },
  );

  test.each(sources)("by %s: pages that are lost are asked for again", async (_, options, request) => {
    const file = routedModel(options);
    const resident = asked(await openRunner(gpu, file, tuning("100%")), request);
    const pages = new Set(resident.pages.sites.flat().map((page) => page?.index));
    const tokens = prompt.slice(0, 7);
    const wanted = await decodeLogits(resident, tokens);
    const store = new ModelStore(new MemoryBackend(Number.POSITIVE_INFINITY));
    const lossy = unsteady(store, { seed: 5, delayMs: [0, 5], failRate: 0.03, pages: (i) => pages.has(i) });
    const load = { ...tuning("25%"), memory: { gpuExperts: "25%", host: 0 } as const };
    const open = asked(await openCold(gpu, file, load, lossy), request);
    for (let failures = 0; ; failures++) {
      const found = await decodeLogits(open, tokens).catch((error: unknown) => {
        expect(error).toMatchObject({ code: "network" });
        expect(failures).toBeLessThan(100);
        return undefined;
      });
      if (found === undefined) continue;
      expect(found).toEqual(wanted);
      return;
    }
  });
});

describe("however the tokens come", () => {
  const momentum = { factor: 0.7, step: 1 };
  test.each<[string, RoutedOptions, RouteRequest]>([
    ...sources,
    ["momentum", { input: "previous-layer", momentum }, {}],
  ])("%s: the same bits in any chunks, and the decode program's logits", async (_, options, request) => {
    const whole = asked(await openRunner(gpu, routedModel(options), tuning("100%", 64)), request);
    const eights = asked(await openRunner(gpu, routedModel(options), tuning("100%", 8)), request);
    const expected = await prefillLogits(whole, prompt);
    expect(await prefillLogits(eights, prompt)).toEqual(expected);
    expect(nmse(await decodeLogits(eights, prompt), expected)).toBeLessThan(1e-10);
  });

  test("513 tokens, as float64 has them", async () => {
    const options: RoutedOptions = { input: "draw", momentum };
    const tokens = Array.from({ length: 513 }, () => integer(random, VOCABULARY));
    const open = asked(
      await openCold(gpu, routedModel(options), { contextTokens: 513, memory: { gpuExperts: "0%" } }),
      { routeSeed: 9 },
    );
    const expected = routedLogits(options, tokens, { routeSeed: 9 }).subarray(512 * VOCABULARY);
    expect(nmse(await prefillLogits(open, tokens), expected)).toBeLessThan(1e-10);
  });
});
