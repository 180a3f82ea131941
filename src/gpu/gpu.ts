import { SluiceError } from "../errors.ts";
import { compileFailure, Pipelines } from "./pipelines.ts";
import { Readback } from "./readback.ts";

/** What the wrapper counted. Tests and `stats()` read it; nothing else keeps a second count. */
export interface GpuCounters {
  /** Buffers, bind groups, pipelines and views made. */
  objects: number;
  dispatches: number;
  submits: number;
  readbacks: number;
  bytesUploaded: number;
  bytesAllocated: number;
}

export interface GpuOptions {
  /** Largest storage binding to use, in bytes; below the adapter's own for tests. */
  readonly maxBindingBytes?: number;
  /** Which kernel variants to build, whatever the adapter says it is; for tests. */
  readonly software?: boolean;
}

/** A device with the few things Sluice asks of it. The only place that creates WebGPU objects. */
export class Gpu {
  readonly device: GPUDevice;
  readonly adapterName: string;
  /** Lanes of a subgroup when the device has subgroups and all are the same size, else 0. */
  readonly subgroupLanes: number;
  /** A software adapter: barriers and dispatches are dear there, lanes cheap. */
  readonly software: boolean;
  readonly maxBindingBytes: number;
  readonly counters: GpuCounters = {
    objects: 0,
    dispatches: 0,
    submits: 0,
    readbacks: 0,
    bytesUploaded: 0,
    bytesAllocated: 0,
  };
  readonly pipelines: Pipelines;
  #failure: SluiceError | undefined;
  #isDestroyed = false;
  readonly #buffers = new Set<GPUBuffer>();

  private constructor(device: GPUDevice, options: GpuOptions) {
    const info = device.adapterInfo;
    this.device = device;
    this.adapterName =
      [info.vendor, info.architecture, info.description].filter((word) => word !== "").join(" ") || "unknown";
    const isSoftware = info.isFallbackAdapter || /swiftshader|llvmpipe|software/i.test(this.adapterName);
    this.software = options.software ?? isSoftware;
    const { subgroupMinSize: min, subgroupMaxSize: max } = info;
    this.subgroupLanes = device.features.has("subgroups") && min === max ? min : 0;
    const limit = device.limits.maxStorageBufferBindingSize;
    this.maxBindingBytes = Math.min(limit, options.maxBindingBytes ?? limit);
    this.pipelines = new Pipelines(device, this.counters);
    device.addEventListener("uncapturederror", (event) => {
      this.#failure ??= deviceError(event.error);
    });
    void device.lost.then((lost) => {
      if (!this.#isDestroyed) this.#failure = lostError(lost);
    });
  }

  /** A device of the page's or worker's own adapter. @throws SluiceError `no-webgpu` */
  static async request(options: GpuOptions = {}): Promise<Gpu> {
    const adapter = await globalThis.navigator?.gpu?.requestAdapter({ powerPreference: "high-performance" });
    if (adapter) return Gpu.open(adapter, options);
    throw new SluiceError("no-webgpu", "this browser offers no WebGPU adapter here", {
      remedy:
        "Use a current Chrome, Edge, Safari or Firefox over https or localhost, with hardware acceleration on.",
      details: { secureContext: globalThis.isSecureContext ?? false },
    });
  }

  /**
   * Asks `adapter` for a device with its full limits and the optional features the kernels can use.
   * @throws SluiceError `no-webgpu`
   */
  static async open(adapter: GPUAdapter, options: GpuOptions = {}): Promise<Gpu> {
    const { maxStorageBufferBindingSize, maxBufferSize, maxStorageBuffersPerShaderStage } = adapter.limits;
    const features = adapter.features.has("subgroups") ? (["subgroups"] as GPUFeatureName[]) : [];
    try {
      const device = await adapter.requestDevice({
        label: "sluice",
        requiredFeatures: features,
        requiredLimits: { maxStorageBufferBindingSize, maxBufferSize, maxStorageBuffersPerShaderStage },
      });
      return new Gpu(device, options);
    } catch (cause) {
      throw new SluiceError("no-webgpu", "the WebGPU adapter gave no device", {
        remedy: "Reload the page; if it persists, restart the browser or update the graphics driver.",
        cause,
      });
    }
  }

  /** A zero-filled buffer. Its bytes count until `destroy`. */
  buffer(label: string, bytes: number, usage: GPUBufferUsageFlags): GPUBuffer {
    const { maxBufferSize, maxStorageBufferBindingSize } = this.device.limits;
    const isBound = (usage & GPUBufferUsage.STORAGE) !== 0;
    const limit = isBound ? Math.min(maxBufferSize, maxStorageBufferBindingSize) : maxBufferSize;
    if (bytes > limit) {
      throw new SluiceError(
        "limits-too-low",
        `${label} needs ${bytes} bytes, this adapter binds at most ${limit}`,
        {
          remedy: "Use a smaller contextTokens, a smaller model, or another device.",
          details: { needed: bytes, limit },
        },
      );
    }
    const buffer = this.device.createBuffer({ label, size: Math.max(16, Math.ceil(bytes / 4) * 4), usage });
    this.counters.objects += 1;
    this.counters.bytesAllocated += buffer.size;
    this.#buffers.add(buffer);
    return buffer;
  }

  /** What `make` makes; undefined, and none of its buffers left, if there is no memory for it. */
  async allocate<T>(make: () => T): Promise<T | undefined> {
    const before = new Set(this.#buffers);
    this.device.pushErrorScope("out-of-memory");
    const made = make();
    if ((await this.device.popErrorScope()) === null) return made;
    for (const buffer of this.#buffers) if (!before.has(buffer)) this.release(buffer);
    return undefined;
  }

  release(buffer: GPUBuffer): void {
    if (!this.#buffers.delete(buffer)) return;
    this.counters.bytesAllocated -= buffer.size;
    buffer.destroy();
  }

  upload(buffer: GPUBuffer, offset: number, data: AllowSharedBufferSource): void {
    this.device.queue.writeBuffer(buffer, offset, data);
    this.counters.bytesUploaded += data.byteLength;
  }

  submit(encoder: GPUCommandEncoder): void {
    this.device.queue.submit([encoder.finish()]);
    this.counters.submits += 1;
  }

  readback(label: string, bytes: number): Readback {
    return new Readback(this, label, bytes);
  }

  /**
   * Runs `work`, whose synchronous part may create, write and submit, and throws what WebGPU found wrong.
   * WebGPU drops an invalid submit in silence, so nothing that produces numbers may run outside.
   * @throws SluiceError `shader-error`, `out-of-memory`, `device-lost`
   */
  async checked<T>(work: () => T | Promise<T>): Promise<T> {
    const filters = ["internal", "out-of-memory", "validation"] as const;
    for (const filter of filters) this.device.pushErrorScope(filter);
    const running = (async () => work())();
    const [outcome, scopes] = await Promise.allSettled([running, this.#popScopes(filters.length)]);
    if (scopes.status === "fulfilled") this.#failure ??= scopes.value;
    if (outcome.status === "rejected" && !(outcome.reason instanceof SluiceError)) await this.#noticeLoss();
    this.check();
    if (outcome.status === "rejected") throw outcome.reason;
    return outcome.value;
  }

  /** A lost device first shows as a failed call; the loss itself is told a little later. */
  async #noticeLoss(): Promise<void> {
    const GRACE_MS = 200;
    await Promise.race([this.device.lost, new Promise((resolve) => setTimeout(resolve, GRACE_MS))]);
  }

  async #popScopes(count: number): Promise<SluiceError | undefined> {
    const errors = await Promise.all(Array.from({ length: count }, () => this.device.popErrorScope()));
    const first = errors.find((error) => error !== null);
    return first && deviceError(first);
  }

  /** Resolves when everything submitted so far has run. */
  async done(): Promise<void> {
    await this.device.queue.onSubmittedWorkDone();
  }

  /** Throws the first device failure seen so far, if any. */
  check(): void {
    if (this.#failure) throw this.#failure;
  }

  /** Waits until every pipeline asked for has compiled. @throws SluiceError `shader-error` with the log */
  async ready(): Promise<void> {
    await this.pipelines.ready();
    this.check();
  }

  destroy(): void {
    this.#isDestroyed = true;
    for (const buffer of this.#buffers) buffer.destroy();
    this.#buffers.clear();
    this.counters.bytesAllocated = 0;
    this.device.destroy();
  }
}

function deviceError(error: GPUError): SluiceError {
  if (error instanceof GPUOutOfMemoryError) {
    return new SluiceError("out-of-memory", `the GPU ran out of memory: ${error.message}`, {
      remedy: "Use a smaller context, a smaller model or a lower memory budget, or close other pages.",
      cause: error,
    });
  }
  return compileFailure(error.message, error);
}

function lostError(lost: GPUDeviceLostInfo): SluiceError {
  return new SluiceError("device-lost", `the GPU device was lost: ${lost.message}`, {
    remedy: "Load the model again; its weights are still on disk.",
    details: { reason: lost.reason ?? "unknown" },
  });
}
