import { SluiceError } from "../errors.ts";
import type { GpuCounters } from "./gpu.ts";

/** A kernel ready to be bound: its composed WGSL and the pipeline it compiles to. */
export interface Kernel {
  readonly label: string;
  readonly code: string;
  readonly bindings: readonly Binding[];
  /** There once `Pipelines.ready()` resolved. */
  pipeline: GPUComputePipeline | undefined;
}

/** A whole buffer or a range of one. */
export type BoundBuffer = GPUBuffer | GPUBufferBinding;

/** For each binding by name. */
export type BoundBuffers = Readonly<Record<string, BoundBuffer>>;

interface Binding {
  readonly index: number;
  readonly name: string;
  readonly type: "storage" | "read-only-storage";
}

const BINDING = /@group\(0\)\s*@binding\((\d+)\)\s*var<storage,\s*(read|read_write)>\s*(\w+)/g;

/** Group 0 of a kernel as its WGSL declares it; the shader is the only definition. */
export function parseBindings(code: string): Binding[] {
  const found = [...code.matchAll(BINDING)].map(([, index, access, name]) => ({
    index: Number(index),
    name: name as string,
    type: access === "read" ? ("read-only-storage" as const) : ("storage" as const),
  }));
  return found.sort((a, b) => a.index - b.index);
}

/** Layouts cached by signature, kernels by code. Group 0 tensors, group 1 params at a dynamic offset. */
export class Pipelines {
  readonly #device: GPUDevice;
  readonly #counters: GpuCounters;
  readonly #layouts = new Map<string, GPUBindGroupLayout>();
  readonly #kernels = new Map<string, Kernel>();
  readonly #pending: Promise<void>[] = [];
  readonly paramsLayout: GPUBindGroupLayout;

  constructor(device: GPUDevice, counters: GpuCounters) {
    this.#device = device;
    this.#counters = counters;
    const buffer = { type: "uniform", hasDynamicOffset: true } as const;
    this.paramsLayout = device.createBindGroupLayout({
      label: "params",
      entries: [{ binding: 0, visibility: GPUShaderStage.COMPUTE, buffer }],
    });
  }

  /** The kernel for `code`, compiling it in the background the first time. */
  kernel(label: string, code: string): Kernel {
    const known = this.#kernels.get(code);
    if (known) return known;
    const kernel: Kernel = { label, code, bindings: parseBindings(code), pipeline: undefined };
    this.#kernels.set(code, kernel);
    const compiling = this.#compile(kernel);
    // Reported by `ready`, which may come later than the failure.
    compiling.catch(() => {});
    this.#pending.push(compiling);
    return kernel;
  }

  async ready(): Promise<void> {
    await Promise.all(this.#pending.splice(0));
  }

  bindGroup(kernel: Kernel, buffers: BoundBuffers): GPUBindGroup {
    this.#counters.objects += 1;
    return this.#device.createBindGroup({
      label: kernel.label,
      layout: this.#layout(kernel.bindings),
      entries: kernel.bindings.map(({ index, name }) => {
        const bound = buffers[name];
        if (!bound) throw new Error(`${kernel.label}: no buffer for binding ${name}`);
        return { binding: index, resource: "buffer" in bound ? bound : { buffer: bound } };
      }),
    });
  }

  #layout(bindings: readonly Binding[]): GPUBindGroupLayout {
    const signature = bindings.map(({ index, type }) => `${index}:${type}`).join();
    let layout = this.#layouts.get(signature);
    if (!layout) {
      layout = this.#device.createBindGroupLayout({
        label: signature,
        entries: bindings.map(({ index, type }) => ({
          binding: index,
          visibility: GPUShaderStage.COMPUTE,
          buffer: { type },
        })),
      });
      this.#layouts.set(signature, layout);
    }
    return layout;
  }

  async #compile(kernel: Kernel): Promise<void> {
    this.#counters.objects += 1;
    const { label, code } = kernel;
    const bindGroupLayouts = [this.#layout(kernel.bindings), this.paramsLayout];
    this.#device.pushErrorScope("validation");
    const module = this.#device.createShaderModule({ label, code });
    const invalid = this.#device.popErrorScope();
    try {
      kernel.pipeline = await this.#device.createComputePipelineAsync({
        label,
        layout: this.#device.createPipelineLayout({ label, bindGroupLayouts }),
        compute: { module, entryPoint: "main" },
      });
    } catch (cause) {
      const { messages } = await module.getCompilationInfo();
      const lines = code.split("\n");
      const log = messages.map(
        ({ lineNum, type, message }) => `${type}: ${message}\n  ${lineNum}: ${lines[lineNum - 1] ?? ""}`,
      );
      throw compileFailure(`${label}: ${log.join("\n") || String(cause)}`, cause);
    } finally {
      await invalid;
    }
  }
}

export function compileFailure(message: string, cause: unknown): SluiceError {
  return new SluiceError("shader-error", `WebGPU rejected the engine's work: ${message}`, {
    remedy:
      "Update the browser or the graphics driver; if it persists, report this message with the adapter's name.",
    cause,
  });
}
