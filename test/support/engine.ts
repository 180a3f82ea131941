/** Models for tests of the engine, loaded in this thread: in a page on its adapter, under Node on Dawn's. */
import { expect } from "vitest";
import { SluiceError, type SluiceErrorCode } from "../../src/errors.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { type InlineOptions, loadModelInline } from "../../src/inline.ts";
import type { Model } from "../../src/language_model.ts";
import { type Loaded, loadRunner, type ModelOptions, type Prepared, prepare } from "../../src/model/load.ts";
import { GREEDY } from "../../src/model/sampling.ts";
import { specOf } from "../../src/source/spec.ts";
import { MemoryBackend } from "../../src/store/memory.ts";
import { ModelStore } from "../../src/store/model_store.ts";
import type { StoreService } from "../../src/store/service.ts";
import { sharedAdapter } from "./adapter.ts";
import { fixture, type GoldenCase, goldenCase, nmse, readBytes } from "./golden.ts";
import { downloadWords } from "./gpu.ts";

/** The small random model with biases and scales: 2 layers, 8 experts, a vocabulary of 128, context 256. */
export const smallModel = (): URL => fixture("qwen3moe-moe.gguf");
export const smallCase = (): Promise<GoldenCase> => goldenCase(fixture("qwen3moe-moe"));

/** A page loads over HTTP; Node, which fetches no `file:` URL, reads the whole file first. */
export async function sourceOf(url: URL): Promise<URL | File> {
  if (url.protocol !== "file:") return url;
  return new File([await readBytes(url)], url.pathname.replace(/^.*\//, ""));
}

/** On a device that a test file shares, unless `options` has an adapter of the test's own. */
export async function loadInline(source: URL | File, options: Partial<InlineOptions> = {}): Promise<Model> {
  const adapter = options.adapter ?? (await sharedAdapter());
  const place = source instanceof File ? source : await sourceOf(source);
  return loadModelInline(place, { store: "memory", ...options, adapter });
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** What `run` failed with, which must be a SluiceError of this code. */
export async function failure(code: SluiceErrorCode, run: () => unknown): Promise<SluiceError> {
  const error = await (async () => run())().then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(SluiceError);
  const failed = error as SluiceError;
  expect(failed, failed.message).toMatchObject({ code });
  expect(failed.remedy).not.toBe("");
  return failed;
}

/** Logits are the golden ones to `most` and the greedy continuation is equal. */
export async function expectGolden(model: Model, golden: GoldenCase, most = 1e-6): Promise<void> {
  const { tokens, greedy, logits } = golden;
  if (logits) expect(nmse(await model.logits(tokens), logits)).toBeLessThanOrEqual(most);
  expect(await collect(model.generateTokens(tokens, { maxTokens: greedy.length }))).toEqual(greedy);
}

/** A model's runner and pager, and the GPU buffers the model was given, by label. */
export interface OpenRunner extends Prepared, Loaded {
  readonly gpu: Gpu;
  readonly buffers: ReadonlyMap<string, readonly GPUBuffer[]>;
}

/** Loads a model as the engine does, leaving what the engine hides in reach. All experts that have room are there. */
export async function openRunner(
  gpu: Gpu,
  source: URL | File,
  options: ModelOptions = {},
): Promise<OpenRunner> {
  const open = await openCold(gpu, source, options);
  while (await open.pager.fill(Number.POSITIVE_INFINITY));
  return open;
}

/** The same, with no expert there. @param store for tests of what a store may do */
export async function openCold(
  gpu: Gpu,
  source: URL | File | readonly File[],
  options: ModelOptions = {},
  store: StoreService = new ModelStore(new MemoryBackend(0)),
): Promise<OpenRunner> {
  const place = source instanceof URL ? await sourceOf(source) : source;
  const { id, file } = await store.open(specOf(place));
  const prepared = prepare(file, options);
  const { buffers, stop } = recordBuffers(gpu);
  const loaded = await loadRunner(gpu, store, id, prepared, () => {}, new AbortController().signal);
  stop();
  return { ...prepared, ...loaded, gpu, buffers };
}

function recordBuffers(gpu: Gpu) {
  const buffers = new Map<string, GPUBuffer[]>();
  const { buffer: original } = gpu;
  const create = original.bind(gpu);
  gpu.buffer = (label, bytes, usage) => {
    const buffer = create(label, bytes, usage);
    buffers.set(label, [...(buffers.get(label) ?? []), buffer]);
    return buffer;
  };
  const stop = () => {
    gpu.buffer = original;
  };
  return { buffers, stop };
}

/** Logits of the last position of `prompt`, by the prefill program. */
export async function prefillLogits(open: OpenRunner, prompt: readonly number[]): Promise<Float32Array> {
  await open.runner.prefill(prompt, GREEDY, new AbortController().signal);
  return lastLogits(open);
}

/** The same by the decode program, which is fed all tokens but the first one by one. */
export async function decodeLogits(open: OpenRunner, prompt: readonly number[]): Promise<Float32Array> {
  const { gpu, runner } = open;
  await runner.prefill(prompt.slice(0, 1), GREEDY, new AbortController().signal);
  for (const [position, token] of prompt.entries()) {
    if (position === 0) continue;
    gpu.upload(stateBuffer(open, "tokens"), 4 * position, Uint32Array.of(token));
    await runner.decode(position, 1, GREEDY);
  }
  return lastLogits(open);
}

/** Logits behind the last position that ran. */
export async function lastLogits(open: OpenRunner): Promise<Float32Array> {
  const words = await downloadWords(open.gpu, stateBuffer(open, "logits"));
  return new Float32Array(words.buffer, 0, open.plan.vocabulary);
}

function stateBuffer({ buffers }: OpenRunner, label: string): GPUBuffer {
  const [buffer, ...others] = buffers.get(label) ?? [];
  if (!buffer || others.length > 0) throw new Error(`${others.length + 1} buffers are called ${label}`);
  return buffer;
}
