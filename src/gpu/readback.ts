import type { Gpu } from "./gpu.ts";

/** Two, so that one can be filled while the other is read. */
export const STAGING_BUFFERS = 2;

/** Staging buffers for one kind of readback. */
export class Readback {
  readonly #gpu: Gpu;
  readonly #staging: GPUBuffer[];

  constructor(gpu: Gpu, label: string, bytes: number) {
    this.#gpu = gpu;
    const usage = GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ;
    this.#staging = Array.from({ length: STAGING_BUFFERS }, (_, i) =>
      gpu.buffer(`${label} readback ${i}`, bytes, usage),
    );
  }

  /** The staging buffer to copy into next. `read` gives it back. */
  take(): GPUBuffer {
    const buffer = this.#staging.pop();
    if (!buffer) throw new Error("more readbacks in flight than staging buffers");
    return buffer;
  }

  /** A copy of the first `bytes` bytes, once the work that fills `buffer` is done. */
  async read(buffer: GPUBuffer, bytes: number): Promise<ArrayBuffer> {
    this.#gpu.counters.readbacks += 1;
    try {
      await buffer.mapAsync(GPUMapMode.READ, 0, bytes);
      return buffer.getMappedRange(0, bytes).slice(0);
    } finally {
      buffer.unmap();
      this.#staging.push(buffer);
    }
  }

  release(): void {
    for (const buffer of this.#staging) this.#gpu.release(buffer);
  }
}
