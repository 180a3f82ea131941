import type { Step } from "../../gpu/program.ts";
import { stick_breaking_attention } from "../../kernels/stick_breaking_attention.ts";
import { maxRoutes } from "../moe_plan.ts";
import type { ExpertAttentionBlock } from "../plan.ts";
import { addTo, type Build } from "./build.ts";
import { type BlockSteps, sparse } from "./feed_forward.ts";

/** Where the experts of attention are chosen and run. @param before see `expertAttentionMixer` */
export function expertAttention(
  build: Build,
  block: ExpertAttentionBlock,
  before: readonly Step[],
  site: number,
): Omit<BlockSteps, "early"> {
  const { gpu, state, sizes, tile } = build;
  const { heads, headSize, scale, moe } = block;
  const { hidden: q, attended: out, fault } = state;
  const { keys, values } = state.kept.get(block) as { keys: GPUBuffer; values: GPUBuffer };
  const topK = maxRoutes(moe.router, moe.experts);
  const { router, resolve, experts, addUp } = sparse(build, moe, site, {
    result: out,
    steps: (routes) => [
      stick_breaking_attention(gpu, {
        ...{ heads, headSize, topK, scale, context: sizes.context, q, keys, values, routes, out, fault },
        tile: Math.max(1, Math.floor(tile / topK)),
      }),
    ],
  });
  return {
    before: [...before, ...router],
    experts: [resolve, ...experts],
    after: addTo(build, block.postNorm, addUp),
  };
}
