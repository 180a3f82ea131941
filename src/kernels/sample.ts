import hash from "../../shaders/lib/hash.wgsl?raw";
import isNumber from "../../shaders/lib/is_number.wgsl?raw";
import source from "../../shaders/sample.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import { makeStep, reduction, type Stoppable } from "./step.ts";

/** The id written when no logit is a finite number. */
export const INVALID_TOKEN = 0xffffffff;

export interface SampleArgs extends Stoppable {
  readonly vocabulary: number;
  /** [vocabulary] f32 */
  readonly logits: GPUBuffer;
  /** [context + 1] u32; the id goes to position + row + 1 */
  readonly tokens: GPUBuffer;
}

/** Draws the next token as the params say and appends it to the sequence. */
export function sample(gpu: Gpu, { vocabulary, logits, tokens, fault }: SampleArgs): Step {
  const { lanes, snippet, enable } = reduction(gpu, 256);
  return makeStep(gpu, {
    label: "sample",
    source,
    enable,
    constants: { LANES: lanes, SHARED: 1, VOCABULARY: vocabulary },
    snippets: [snippet, isNumber, hash],
    buffers: { logits, tokens },
    fault,
    grid: () => [1, 1],
  });
}
