export const isNode = import.meta.url.startsWith("file:");

/** The page's adapter; under Node, Dawn's first Vulkan adapter. */
export async function requestAdapter(): Promise<GPUAdapter | null> {
  const gpu = isNode ? await dawn() : navigator.gpu;
  return gpu.requestAdapter();
}

/** Dawn frees what its instance owns when the instance is collected, in use or not. */
const keptAlive: unknown[] = [];

async function dawn(): Promise<GPU> {
  // Not a literal, so that a bundler for the browser leaves it alone.
  const name = ["web", "gpu"].join("");
  const { create, globals }: typeof import("webgpu") = await import(/* @vite-ignore */ name);
  Object.assign(globalThis, globals);
  const gpu = create(["backend=vulkan"]);
  keptAlive.push(gpu);
  return gpu;
}

/** The modules and pipelines of one device, by what they are made from. */
class Compiled {
  readonly #modules = new Map<string, GPUShaderModule>();
  readonly #pipelines = new Map<GPUShaderModule, Promise<GPUComputePipeline>>();

  module(code: string, make: () => GPUShaderModule): GPUShaderModule {
    const module = this.#modules.get(code) ?? make();
    this.#modules.set(code, module);
    return module;
  }

  /** A kernel's layout follows from its code; WebGPU takes equal layouts for one another. */
  pipeline(module: GPUShaderModule, make: () => Promise<GPUComputePipeline>): Promise<GPUComputePipeline> {
    const pipeline = this.#pipelines.get(module) ?? make();
    this.#pipelines.set(module, pipeline);
    return pipeline;
  }
}

let shared: Promise<GPUAdapter> | undefined;

/**
 * An adapter whose devices are one, which outlives the models on it and keeps what they compiled: a software adapter
 * takes seconds to compile a model, and many models of the tests have most kernels in common.
 */
export function sharedAdapter(): Promise<GPUAdapter> {
  shared ??= share();
  return shared;
}

async function share(): Promise<GPUAdapter> {
  const adapter = await requestAdapter();
  if (adapter === null) throw new Error("no WebGPU adapter");
  let opened: Promise<() => GPUDevice> | undefined;
  const requestDevice = async (descriptor?: GPUDeviceDescriptor) => {
    opened ??= adapter.requestDevice(descriptor).then(outliving);
    return (await opened)();
  };
  return {
    features: adapter.features,
    limits: adapter.limits,
    info: adapter.info,
    requestDevice,
  } as GPUAdapter;
}

/** Gives out the device under many names. Destroying one frees its buffers alone. */
function outliving(device: GPUDevice): () => GPUDevice {
  const compiled = new Compiled();
  return () => {
    const buffers: GPUBuffer[] = [];
    const own: Partial<GPUDevice> = {
      createShaderModule: (descriptor) =>
        compiled.module(descriptor.code, () => device.createShaderModule(descriptor)),
      createComputePipelineAsync: (descriptor) =>
        compiled.pipeline(descriptor.compute.module, () => device.createComputePipelineAsync(descriptor)),
      createBuffer: (descriptor) => {
        const buffer = device.createBuffer(descriptor);
        buffers.push(buffer);
        return buffer;
      },
      destroy: () => {
        for (const buffer of buffers.splice(0)) buffer.destroy();
      },
    };
    return new Proxy(device, {
      get: (_, key) => {
        const value: unknown = Reflect.get(key in own ? own : device, key);
        return typeof value === "function" && !(key in own) ? value.bind(device) : value;
      },
      set: (_, key, value) => Reflect.set(device, key, value),
    });
  };
}
