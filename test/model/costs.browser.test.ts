import { expect, test } from "vitest";
import type { GpuCounters } from "../../src/gpu/gpu.ts";
import { GREEDY } from "../../src/model/sampling.ts";
import { openRunner, smallCase, smallModel } from "../support/engine.ts";
import { openGpu } from "../support/gpu.ts";

/** What `run` adds to the counters of the GPU. */
async function costOf(counters: GpuCounters, run: () => Promise<unknown>) {
  const { dispatches, submits, readbacks, bytesUploaded } = { ...counters };
  await run();
  return {
    dispatches: counters.dispatches - dispatches,
    submits: counters.submits - submits,
    readbacks: counters.readbacks - readbacks,
    bytesUploaded: counters.bytesUploaded - bytesUploaded,
  };
}

/** Rules that other models have may not cost a plain top-k model anything: a change of these digits is a mistake. */
test("plain qwen3moe: what a prompt and eight decoded tokens cost, also where numbers changed", async () => {
  const { tokens } = await smallCase();
  const gpu = await openGpu();
  const { runner, routing } = await openRunner(gpu, smallModel(), { chunkTokens: 16 });
  const { signal } = new AbortController();
  await runner.prefill(tokens, GREEDY, signal);
  const prompt = await costOf(gpu.counters, () => runner.prefill(tokens, GREEDY, signal));
  const decoded = await costOf(gpu.counters, () => runner.decode(tokens.length, 8, GREEDY));
  expect({ prompt, decoded }).toEqual({
    prompt: { dispatches: 3 * 26, submits: 3, readbacks: 1, bytesUploaded: 404 },
    decoded: { dispatches: 8 * 26, submits: 1, readbacks: 1, bytesUploaded: 8 * 52 },
  });
  const { objects } = gpu.counters;
  routing.change({ numbers: { k: 1, temperature: 2 } });
  const rerouted = await costOf(gpu.counters, () => runner.decode(tokens.length + 8, 8, GREEDY));
  const HEADS = 2 * 20;
  expect(rerouted).toEqual({ ...decoded, bytesUploaded: decoded.bytesUploaded + HEADS });
  expect(await costOf(gpu.counters, () => runner.decode(tokens.length + 16, 8, GREEDY))).toEqual(decoded);
  expect(gpu.counters.objects).toBe(objects);
  gpu.destroy();
});
