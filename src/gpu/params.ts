import paramsWgsl from "../../shaders/lib/params.wgsl?raw";
import type { Gpu } from "./gpu.ts";

interface Field {
  readonly name: string;
  readonly type: "u32" | "f32";
  readonly offset: number;
}

/** The fields of a WGSL struct of 4-byte scalars, in order. */
export function parseStruct(wgsl: string, name: string): Field[] {
  const body = new RegExp(`struct ${name}\\s*\\{([^}]*)\\}`).exec(wgsl)?.[1] ?? "";
  return [...body.matchAll(/(\w+):\s*(u32|f32)/g)].map(([, field, type], i) => ({
    name: field as string,
    type: type as Field["type"],
    offset: 4 * i,
  }));
}

const FIELDS = parseStruct(paramsWgsl, "Params");

/** What one replay is told; names are those of `struct Params`. */
export interface ParamValues {
  readonly position: number;
  readonly tokens: number;
  readonly row: number;
  readonly seed: number;
  readonly temperature: number;
  readonly top_k: number;
  readonly top_p: number;
  readonly min_p: number;
  readonly repetition_penalty: number;
  readonly frequency_penalty: number;
  readonly presence_penalty: number;
  readonly prompt_tokens: number;
  readonly top_logprobs: number;
}

/** No adapter wants more between two dynamic offsets; see `minUniformBufferOffsetAlignment`. */
export const PARAMS_STRIDE_BYTES = 256;

/** Copies of Params in one uniform buffer, a slot for each replay in flight. */
export class ParamArena {
  readonly bindGroup: GPUBindGroup;
  readonly #gpu: Gpu;
  readonly #buffer: GPUBuffer;
  readonly #bytes: DataView;
  readonly #stride: number;
  readonly #slots: number;
  #next = 0;

  constructor(gpu: Gpu, slots: number) {
    this.#gpu = gpu;
    this.#slots = slots;
    this.#stride = gpu.device.limits.minUniformBufferOffsetAlignment;
    this.#buffer = gpu.buffer(
      "params",
      slots * this.#stride,
      GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    );
    this.#bytes = new DataView(new ArrayBuffer(FIELDS.length * 4));
    this.bindGroup = gpu.device.createBindGroup({
      label: "params",
      layout: gpu.pipelines.paramsLayout,
      entries: [{ binding: 0, resource: { buffer: this.#buffer, size: FIELDS.length * 4 } }],
    });
    gpu.counters.objects += 1;
  }

  /**
   * Writes `values` into the next slot and returns its dynamic offset. Queue order makes it safe to reuse a
   * slot once the replay that used it was submitted, so a batch may hold at most `slots` replays.
   */
  write(values: ParamValues): number {
    for (const { name, type, offset } of FIELDS) {
      const value = values[name as keyof ParamValues];
      if (type === "u32") this.#bytes.setUint32(offset, value, true);
      else this.#bytes.setFloat32(offset, value, true);
    }
    const at = this.#next * this.#stride;
    this.#next = (this.#next + 1) % this.#slots;
    this.#gpu.upload(this.#buffer, at, this.#bytes.buffer);
    return at;
  }
}
