import type { Step } from "../../gpu/program.ts";
import { momentum } from "../../kernels/momentum.ts";
import { rmsnorm } from "../../kernels/rmsnorm.ts";
import type { Momentum, NormSpec } from "../plan.ts";
import { moeBlocks } from "../state.ts";
import { type Build, normArgs, type Sum } from "./build.ts";

/**
 * Moves x by a velocity that what `steps` leave changes. They run behind all that a stop at the site runs again, so that a
 * velocity changes once a token.
 * @param norm of the block: behind it where the form is post-norm
 */
export function moveBy(
  { gpu, plan, weights, state }: Build,
  { factor, step, isPostNorm = false, adam }: Momentum,
  norm: NormSpec,
  site: number,
  steps: (sum: Sum) => readonly Step[],
): Step[] {
  const { x, branch, velocity, fault } = state;
  if (!velocity) throw new Error("no room for a velocity");
  const isStart = !moeBlocks(plan)
    .slice(0, site)
    .some((earlier) => earlier.momentum);
  return [
    ...steps({ y: branch, add: false, scale: plan.residualScale }),
    momentum(gpu, {
      ...{ cols: plan.width, factor, step, isStart, isPostNorm, adam },
      ...{ branch, velocity, x, fault },
    }),
    ...(isPostNorm ? [rmsnorm(gpu, { ...normArgs(weights, norm), x: branch, y: x, fault })] : []),
  ];
}
