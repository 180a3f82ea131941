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
test("plain qwen3moe: what a prompt and eight decoded tokens cost", async () => {
  const { tokens } = await smallCase();
  const gpu = await openGpu();
  const { runner } = await openRunner(gpu, smallModel(), { chunkTokens: 16 });
  const { signal } = new AbortController();
  await runner.prefill(tokens, GREEDY, signal);
  const prompt = await costOf(gpu.counters, () => runner.prefill(tokens, GREEDY, signal));
  const decoded = await costOf(gpu.counters, () => runner.decode(tokens.length, 8, GREEDY));
  expect({ prompt, decoded }).toEqual({
    prompt: { dispatches: 3 * 26, submits: 3, readbacks: 1, bytesUploaded: 404 },
    decoded: { dispatches: 8 * 26, submits: 1, readbacks: 1, bytesUploaded: 8 * 52 },
  });
  gpu.destroy();
});
