import type { Step } from "../../gpu/program.ts";
import { type RequestRule, request_logits } from "../../kernels/request_logits.ts";
import { task_input } from "../../kernels/task_input.ts";
import type { MoeSpec } from "../moe_plan.ts";
import { requestBytes, requestStride } from "../route_request.ts";
import { logitsOf, moeSites } from "../state.ts";
import type { Build } from "./build.ts";

/** Where a router's first matrix finds its input, and what puts it there. */
export interface RouterInput {
  readonly steps: readonly Step[];
  readonly input: GPUBuffer;
}

/** What a site's router reads. No block's own products are needed here, so theirs give way. */
export function routerInput(build: Build, { router }: MoeSpec, site: number): RouterInput {
  const { gpu, plan, weights, state } = build;
  const { x, normed, attended, fault } = state;
  const embedding = router.tasks?.embedding;
  if (router.reader && state.tokenStream) {
    const { x, normed } = state.tokenStream;
    return { steps: [], input: router.reader.norm ? normed : x };
  }
  if (router.input === "before-attention" || router.input === "token") return { steps: [], input: x };
  if (!embedding) return { steps: [], input: normed };
  const size = embedding.shape.at(-1) ?? 0;
  const vector = weights.vector(embedding.name);
  const request = requestRow(build, site);
  const args = { cols: plan.width, size, embedding: vector, request, x: normed, y: attended };
  return { steps: [task_input(gpu, { ...args, fault })], input: attended };
}

/** Where a site's logits are: those of the token's router outlive all sites. */
export function siteLogits({ state }: Build, { router }: MoeSpec, site: number): GPUBuffer {
  return router.input === "token" && state.tokenLogits ? state.tokenLogits : logitsOf(state, site);
}

/** The step that leaves a site's logits as the request decides them. */
export function requestLogits(build: Build, moe: MoeSpec, site: number, by: RequestRule): Step {
  const { gpu, state } = build;
  const request = requestRow(build, site);
  const logits = siteLogits(build, moe, site);
  return request_logits(gpu, { by, experts: moe.experts, request, logits, fault: state.fault });
}

/** Whether the token's router has run already, for an earlier site. */
export function sharesLogits({ plan }: Build, { router }: MoeSpec, site: number): boolean {
  if (router.input !== "token") return false;
  return moeSites(plan)
    .slice(0, site)
    .some((earlier) => earlier.router.input === "token");
}

function requestRow({ plan, state }: Build, site: number): GPUBufferBinding {
  if (!state.request) throw new Error("no room for what requests say of routes");
  return { buffer: state.request, offset: site * requestStride(plan), size: requestBytes(plan) };
}
