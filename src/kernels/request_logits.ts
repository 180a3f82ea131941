import hash from "../../shaders/lib/hash.wgsl?raw";
import requestRow from "../../shaders/lib/request.wgsl?raw";
import requestDraw from "../../shaders/lib/request_draw.wgsl?raw";
import requestGiven from "../../shaders/lib/request_given.wgsl?raw";
import requestTask from "../../shaders/lib/request_task.wgsl?raw";
import source from "../../shaders/request_logits.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { BoundBuffer } from "../gpu/pipelines.ts";
import type { Step } from "../gpu/program.ts";
import { makeStep, type Stoppable } from "./step.ts";

/** Words of a site's row before those that name experts: a seed of its own, and the task. */
export const REQUEST_HEADER_WORDS = 2;

export type RequestRule =
  /** The experts that the request names. */
  | { readonly rule: "given" }
  /** One, by the seed and, where `each` is a token, its position. */
  | { readonly rule: "draw"; readonly each: "token" | "sequence" }
  /** Those of the request's task, of `all` [tokens, tasks, experts] f32. */
  | { readonly rule: "task"; readonly tasks: number; readonly all: GPUBuffer };

export interface RequestLogitsArgs extends Stoppable {
  readonly by: RequestRule;
  readonly experts: number;
  /** A site's row: seed, task, and a bit for each expert that is named, u32 */
  readonly request: BoundBuffer;
  /** [tokens, experts] f32; where experts are chosen by the request, 80 for those and −80 for others */
  readonly logits: GPUBuffer;
}

const LANES = 64;

/** A site's logits as a request decides them. */
export function request_logits(gpu: Gpu, { by, experts, request, logits, fault }: RequestLogitsArgs): Step {
  const { constants, snippets } = ruleOf(by);
  return makeStep(gpu, {
    label: "request_logits",
    source,
    constants: { LANES, EXPERTS: experts, ...constants },
    snippets: [requestRow, ...snippets],
    buffers: { request, logits, ...(by.rule === "task" && { all: by.all }) },
    fault,
    grid: (tokens) => [Math.ceil(experts / LANES), tokens],
  });
}

function ruleOf(by: RequestRule): {
  readonly constants: Readonly<Record<string, number | boolean>>;
  readonly snippets: readonly string[];
} {
  switch (by.rule) {
    case "given":
      return { constants: {}, snippets: [requestGiven] };
    case "draw":
      return { constants: { EACH_TOKEN: by.each === "token" }, snippets: [hash, requestDraw] };
    case "task":
      return { constants: { TASKS: by.tasks }, snippets: [requestTask] };
  }
}
