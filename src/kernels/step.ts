import faultChecked from "../../shaders/lib/fault_checked.wgsl?raw";
import faultUnchecked from "../../shaders/lib/fault_unchecked.wgsl?raw";
import reduceSubgroup from "../../shaders/lib/reduce_subgroup.wgsl?raw";
import reduceWorkgroup from "../../shaders/lib/reduce_workgroup.wgsl?raw";
import { type Constants, compose } from "../gpu/compose.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { BoundBuffers } from "../gpu/pipelines.ts";
import type { Grid, Step } from "../gpu/program.ts";

/** A step that can be told to stop at a fault. */
export interface Stoppable {
  /** u32; the step does nothing unless it holds ABSENT. Absent: never asked. */
  readonly fault?: GPUBuffer | undefined;
}

export interface StepSpec extends Stoppable {
  /** The kernel's stem: shader file, function and label. */
  readonly label: string;
  readonly source: string;
  readonly constants: Constants;
  readonly snippets?: readonly string[];
  readonly enable?: readonly GPUFeatureName[];
  /** By the names of the shader's bindings. */
  readonly buffers: BoundBuffers;
  readonly grid: Grid;
}

/** Composes a shader, finds or compiles its pipeline and binds its buffers. */
export function makeStep(gpu: Gpu, spec: StepSpec): Step {
  const { fault, buffers } = spec;
  const snippets = [...(spec.snippets ?? []), fault ? faultChecked : faultUnchecked];
  const code = compose(spec.enable ?? [], spec.constants, snippets, spec.source);
  const kernel = gpu.pipelines.kernel(spec.label, code);
  return {
    label: spec.label,
    kernel,
    bindGroup: gpu.pipelines.bindGroup(kernel, fault ? { ...buffers, fault } : buffers),
    grid: spec.grid,
  };
}

/** How the lanes of a workgroup add up: which `reduce_*` is joined, and how many lanes it takes. */
export interface Reduction {
  readonly lanes: number;
  readonly snippet: string;
  readonly enable: readonly GPUFeatureName[];
}

/**
 * A reduction over about `wanted` lanes (a power of two): one subgroup where that is enough or barriers are
 * dear, else workgroup memory, which assumes nothing of the subgroup size.
 */
export function reduction(gpu: Gpu, wanted: number): Reduction {
  const { subgroupLanes, software } = gpu;
  if (subgroupLanes > 0 && (software || subgroupLanes >= wanted)) {
    return { lanes: subgroupLanes, snippet: reduceSubgroup, enable: ["subgroups"] };
  }
  return { lanes: wanted, snippet: reduceWorkgroup, enable: [] };
}
