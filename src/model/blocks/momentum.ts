import type { Step } from "../../gpu/program.ts";
import { momentum } from "../../kernels/momentum.ts";
import { rmsnorm } from "../../kernels/rmsnorm.ts";
import type { FeedForwardBlock, Momentum } from "../plan.ts";
import { moeBlocks } from "../state.ts";
import { type Build, normArgs, type Sum } from "./build.ts";

/**
 * Moves x by a velocity that what `steps` leave changes. They run behind all that a stop at the site runs again, so that a
 * velocity changes once a token.
 */
export function moveBy(
  { gpu, plan, weights, state }: Build,
  { norm, postNorm }: FeedForwardBlock,
  { factor, step, isPostNorm = false, adam }: Momentum,
  site: number,
  steps: (sum: Sum) => readonly Step[],
): Step[] {
  const { x, branch, normed, velocity, fault } = state;
  if (!velocity) throw new Error("no room for a velocity");
  const isStart = !moeBlocks(plan)
    .slice(0, site)
    .some((earlier) => earlier.momentum);
  const given = postNorm ? normed : branch;
  return [
    ...steps({ y: branch, add: false, scale: plan.residualScale }),
    ...(postNorm ? [rmsnorm(gpu, { ...normArgs(weights, postNorm), x: branch, y: normed, fault })] : []),
    momentum(gpu, {
      ...{ cols: plan.width, factor, step, isStart, isPostNorm, adam },
      ...{ branch: given, velocity, x, fault },
    }),
    // The block's own norm is behind it then.
    ...(isPostNorm ? [rmsnorm(gpu, { ...normArgs(weights, norm), x: branch, y: x, fault })] : []),
  ];
}
