import { afterEach, describe, expect, test, vi } from "vitest";
import { Gpu } from "../../src/gpu/gpu.ts";
import type { Model } from "../../src/language_model.ts";
import { collect, failure, loadInline, smallCase, smallModel } from "../support/engine.ts";
import { afterSubmit, type Tapped, tapAdapter } from "./tapped.ts";

const { tokens, greedy } = await smallCase();

async function loadTapped(): Promise<Tapped & { model: Model }> {
  const tapped = await tapAdapter();
  const model = await loadInline(smallModel(), { adapter: tapped.adapter, tuning: { chunkTokens: 16 } });
  return Object.create(tapped, { model: { value: model } });
}

/** The tokens that came before the call failed, and what it failed with. */
async function tokensUntilFailure(
  stream: AsyncIterable<number>,
  code: Parameters<typeof failure>[0],
  onToken: (count: number) => void = () => {},
): Promise<number[]> {
  const got: number[] = [];
  await failure(code, async () => {
    for await (const token of stream) {
      got.push(token);
      onToken(got.length);
    }
  });
  return got;
}

afterEach(() => vi.restoreAllMocks());

describe("a command WebGPU rejects ends the call with shader-error", () => {
  test("before the prompt: no token", async () => {
    const { model, buffer } = await loadTapped();
    buffer("x").destroy();
    expect(await tokensUntilFailure(model.generateTokens(tokens), "shader-error")).toEqual([]);
    await failure("shader-error", () => model.logits(tokens));
    expect(await tokensUntilFailure(model.generateTokens(tokens), "shader-error")).toEqual([]);
    await model.dispose();
  });

  test("in the prompt's last chunk: no token", async () => {
    const { model, buffer, device } = await loadTapped();
    afterSubmit(device, 2, () => buffer("keys").destroy());
    expect(await tokensUntilFailure(model.generateTokens(tokens), "shader-error")).toEqual([]);
    await model.dispose();
  });

  test("between prompt and decode: the prompt's token and no other", async () => {
    const { model, buffer } = await loadTapped();
    const spoil = (count: number) => count === 1 && buffer("logits").destroy();
    const got = await tokensUntilFailure(model.generateTokens(tokens), "shader-error", spoil);
    expect(got).toEqual(greedy.slice(0, 1));
    await model.dispose();
  });

  test("in the middle of decoding: right tokens, then the error", async () => {
    const { model, buffer } = await loadTapped();
    const spoil = (count: number) => count === 9 && buffer("values").destroy();
    const got = await tokensUntilFailure(model.generateTokens(tokens), "shader-error", spoil);
    expect(got.length).toBeGreaterThanOrEqual(9);
    expect(got.length).toBeLessThanOrEqual(24);
    expect(got).toEqual(greedy.slice(0, got.length));
    await model.dispose();
  });

  test("a dispatch beyond the limits", async () => {
    const { model } = await loadTapped();
    const dispatch = GPUComputePassEncoder.prototype.dispatchWorkgroups;
    let count = 0;
    vi.spyOn(GPUComputePassEncoder.prototype, "dispatchWorkgroups").mockImplementation(function (
      this: GPUComputePassEncoder,
      x,
      y,
    ) {
      count += 1;
      dispatch.call(this, count === 20 ? 2 ** 20 : x, y);
    });
    expect(await tokensUntilFailure(model.generateTokens(tokens), "shader-error")).toEqual([]);
    await model.dispose();
  });

  test("an error outside of every scope", async () => {
    const { model, device, buffer } = await loadTapped();
    const told = new Promise((resolve) => device.addEventListener("uncapturederror", resolve));
    const encoder = device.createCommandEncoder();
    encoder.clearBuffer(buffer("x"), 2, 4);
    device.queue.submit([encoder.finish()]);
    await told;
    expect(await tokensUntilFailure(model.generateTokens(tokens), "shader-error")).toEqual([]);
    await model.dispose();
  });
});

describe("a load that fails", () => {
  test("a shader that does not compile: shader-error with kernel, line and log", async () => {
    const { adapter } = await tapAdapter((device) => {
      const create = device.createShaderModule.bind(device);
      device.createShaderModule = (options) =>
        create({ ...options, code: options.code.replace("fn rank_of", "fun rank_of") });
    });
    const { message } = await failure("shader-error", () => loadInline(smallModel(), { adapter }));
    expect(message).toMatch(/route: error: .*\n {2}\d+: fn rank_of\(/);
  });

  test("a buffer WebGPU refuses: shader-error", async () => {
    const { adapter } = await tapAdapter((device) => {
      const create = device.createBuffer.bind(device);
      device.createBuffer = (options) =>
        create(options.label === "keys" ? { ...options, usage: 3 } : options);
    });
    await failure("shader-error", () => loadInline(smallModel(), { adapter }));
  });

  test("a GPU without memory: out-of-memory", async () => {
    const { adapter } = await tapAdapter((device) => {
      const create = device.createBuffer.bind(device);
      // Far above maxBufferSize is a validation error; just below it is a question of memory.
      device.createBuffer = (options) => {
        if (options.label === "keys") {
          device.dispatchEvent(
            new GPUUncapturedErrorEvent("uncapturederror", { error: new GPUOutOfMemoryError("full") }),
          );
        }
        return create(options);
      };
    });
    await failure("out-of-memory", () => loadInline(smallModel(), { adapter }));
  });

  test("a device lost on the way: device-lost", async () => {
    const tapped = await tapAdapter();
    const onProgress = ({ phase, bytesDone }: { phase: string; bytesDone: number }) => {
      if (phase === "load" && bytesDone === 0) tapped.device.destroy();
    };
    await failure("device-lost", () => loadInline(smallModel(), { adapter: tapped.adapter, onProgress }));
  });

  test("an adapter that gives no device: no-webgpu", async () => {
    const { adapter } = await tapAdapter();
    adapter.requestDevice = () => Promise.reject(new DOMException("gone", "OperationError"));
    await failure("no-webgpu", () => loadInline(smallModel(), { adapter }));
  });

  test("a budget that is too small: out-of-memory with the numbers, and nothing allocated", async () => {
    const { adapter, buffer } = await tapAdapter();
    const { details } = await failure("out-of-memory", () =>
      loadInline(smallModel(), { adapter, memory: { gpu: 1_000_000 } }),
    );
    expect(details).toMatchObject({ budget: 1_000_000 });
    expect(details.needed).toBeGreaterThan(1_000_000);
    expect(() => buffer("keys")).toThrow("no buffer");
  });
});

describe("a device that is lost", () => {
  test("during the prompt: device-lost, no token", async () => {
    const { model, device } = await loadTapped();
    afterSubmit(device, 2, () => device.destroy());
    expect(await tokensUntilFailure(model.generateTokens(tokens), "device-lost")).toEqual([]);
    await model.dispose();
  });

  test("while decoding: right tokens, then device-lost, and again at the next call", async () => {
    const { model, device } = await loadTapped();
    const lose = (count: number) => count === 2 && device.destroy();
    const got = await tokensUntilFailure(model.generateTokens(tokens), "device-lost", lose);
    expect(got.length).toBeLessThanOrEqual(17);
    expect(got).toEqual(greedy.slice(0, got.length));
    await failure("device-lost", () => collect(model.generateTokens(tokens)));
    await failure("device-lost", () => model.logits(tokens));
    await model.dispose();
  });

  test("while idle: device-lost at the next call", async () => {
    const { model, device } = await loadTapped();
    device.destroy();
    await failure("device-lost", () => collect(model.generateTokens(tokens)));
    await model.dispose();
  });
});

test("no WebGPU: no-webgpu", async () => {
  vi.spyOn(navigator, "gpu", "get").mockReturnValue(undefined as unknown as GPU);
  await failure("no-webgpu", () => Gpu.request());
  vi.restoreAllMocks();
  vi.spyOn(navigator.gpu, "requestAdapter").mockResolvedValue(null);
  await failure("no-webgpu", () => Gpu.request());
});

test("a GPU without room for all experts: as many as it has room for, and the same tokens", async () => {
  const room = 1_000_000;
  let expertBytes = 0;
  const scopes: GPUErrorFilter[] = [];
  const { adapter } = await tapAdapter((device) => {
    const { createBuffer, pushErrorScope, popErrorScope } = device;
    device.createBuffer = (options) => {
      const buffer = createBuffer.call(device, options);
      if (!options.label?.startsWith("experts of site")) return buffer;
      expertBytes += options.size;
      const destroy = buffer.destroy.bind(buffer);
      buffer.destroy = () => {
        expertBytes -= options.size;
        destroy();
      };
      return buffer;
    };
    device.pushErrorScope = (filter) => {
      scopes.push(filter);
      pushErrorScope.call(device, filter);
    };
    device.popErrorScope = async () => {
      const isFull = scopes.pop() === "out-of-memory" && expertBytes > room;
      const error = await popErrorScope.call(device);
      return isFull ? new GPUOutOfMemoryError("no room") : error;
    };
  });
  const model = await loadInline(smallModel(), { adapter });
  expect(expertBytes).toBeGreaterThan(0);
  expect(expertBytes).toBeLessThanOrEqual(room);
  expect(await collect(model.generateTokens(tokens, { maxTokens: 9 }))).toEqual(greedy.slice(0, 9));
  expect((await model.stats()).faultsPerToken).toBeGreaterThan(0);
  await model.dispose();
});

test("a budget is for everything: what is left of it is for experts, to the last slot", async () => {
  const whole = await loadInline(smallModel());
  const { gpuBytes } = await whole.stats();
  await whole.dispose();
  // A slot is about 100 kB.
  const budget = gpuBytes - 300_000;
  const model = await loadInline(smallModel(), { memory: { gpu: budget } });
  expect(await collect(model.generateTokens(tokens, { maxTokens: 9 }))).toEqual(greedy.slice(0, 9));
  const { gpuBytes: taken } = await model.stats();
  expect(taken).toBeLessThanOrEqual(budget);
  expect(taken).toBeGreaterThan(budget - 150_000);
  await model.dispose();
});
