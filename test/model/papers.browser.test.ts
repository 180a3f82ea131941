import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { decodeTrace } from "../../src/experts/trace.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { GREEDY } from "../../src/model/sampling.ts";
import { collect, loadInline, openCold } from "../support/engine.ts";
import { exists, nmse, readFloats, readJson, shared } from "../support/golden.ts";
import { openGpu } from "../support/gpu.ts";

/** Models of papers that have no GGUF form, with what their authors' own code computes. */
const papers = ["dynmoe", "apollo", "moduleformer"];
const MORE_TOKENS = 6;

interface Golden {
  readonly prompt: readonly number[];
  readonly logits: Float32Array;
  /** Experts of each token at each site, best first. */
  readonly routes: readonly (readonly (readonly number[])[])[];
}

const place = (name: string) => shared(`golden/papers/${name}/`);

async function golden(name: string): Promise<Golden> {
  const { prompt } = await readJson<{ prompt: number[] }>(new URL("prompt.json", place(name)));
  const { layers } = await readJson<{ layers: { experts: number[][] }[] }>(
    new URL("routes.json", place(name)),
  );
  const logits = await readFloats(new URL("logits.f32", place(name)));
  return { prompt, logits, routes: layers.map(({ experts }) => experts) };
}

describe.runIf(await exists(new URL("config.json", place("dynmoe"))))("models of papers", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.destroy());

  test.each(papers)(
    "%s: its logits and routes, and the same bits with one slot for experts",
    async (name) => {
      const { prompt, logits, routes } = await golden(name);
      const resident = await loadInline(place(name));
      const found = await resident.logits(prompt);
      expect(nmse(found, logits)).toBeLessThanOrEqual(1e-6);
      const greedy = await collect(resident.generateTokens(prompt, { maxTokens: MORE_TOKENS }));
      // What decoding draws is the best of what the prompt's program computes.
      const all = [...prompt, ...greedy];
      const again = await resident.logits(all);
      const best = all.map((_, t) => {
        const row = again.subarray((t * again.length) / all.length, ((t + 1) * again.length) / all.length);
        return row.indexOf(Math.max(...row));
      });
      expect(best.slice(prompt.length - 1, -1)).toEqual(greedy);
      await resident.dispose();

      const paged = await loadInline(place(name), { memory: { gpuExperts: "0%" }, experts: { trace: true } });
      expect(await paged.logits(prompt)).toEqual(found);
      const trace = decodeTrace(await paged.trace());
      expect(trace.tokens.map(({ routes }) => routes)).toEqual(
        prompt.map((_, t) => routes.map((experts) => experts[t])),
      );
      expect(await collect(paged.generateTokens(prompt, { maxTokens: MORE_TOKENS }))).toEqual(greedy);
      await paged.dispose();
    },
  );

  test("experts are counted as tokens need them, of which the number varies", async () => {
    const { prompt, routes } = await golden("dynmoe");
    const { runner, pager } = await openCold(gpu, place("dynmoe"));
    await runner.prefill(prompt, GREEDY, new AbortController().signal);
    const distinct = routes.map((experts) => new Set(experts.flat()).size);
    expect(pager.counters.expertsNeeded).toBe(distinct.reduce((sum, n) => sum + n, 0));
    while (await pager.fill(Number.POSITIVE_INFINITY));
    const before = pager.counters.expertsNeeded;
    await runner.decode(prompt.length, 1, GREEDY);
    const each = routes.flat(2).length / prompt.length;
    expect(pager.counters.expertsNeeded - before).toBeCloseTo(each, 9);
  });
});
