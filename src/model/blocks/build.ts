import type { Gpu } from "../../gpu/gpu.ts";
import type { Step } from "../../gpu/program.ts";
import { matmul } from "../../kernels/matmul.ts";
import { rmsnorm } from "../../kernels/rmsnorm.ts";
import type { NextGates } from "../next_gates.ts";
import type { Linear, ModelPlan, NormSpec } from "../plan.ts";
import type { State, StateSizes } from "../state.ts";
import type { Weights } from "../weights.ts";

/** What the steps of a block are built from. */
export interface Build {
  readonly gpu: Gpu;
  readonly plan: ModelPlan;
  readonly weights: Weights;
  readonly state: State;
  readonly sizes: StateSizes;
  readonly gates: NextGates;
  /** Tokens that the program's replays have room for. */
  readonly chunk: number;
  /** Tokens a lane computes side by side; 1 for decode. */
  readonly tile: number;
}

/** Where a block's last product goes. */
export interface Sum {
  readonly y: GPUBuffer;
  readonly add: boolean;
  readonly scale: number;
}

/** n = norm(x) */
export function normalise({ gpu, weights, state }: Build, norm: NormSpec): Step {
  const { x, normed, fault } = state;
  return rmsnorm(gpu, { ...normArgs(weights, norm), x, y: normed, fault });
}

/** projected = W·n, the rows of `linears` stacked. */
export function project({ gpu, weights, state, tile }: Build, linears: readonly Linear[]): Step[] {
  const { normed, projected, fault } = state;
  const matrices = linears.flatMap((linear) => weights.matrix(linear));
  return matmul(gpu, { matrices, x: normed, y: projected, tile, fault });
}

/** x += what `steps` leave in the sum they are given, through the norm behind the block where there is one. */
export function addTo(
  { gpu, plan, weights, state }: Build,
  postNorm: NormSpec | undefined,
  steps: (sum: Sum) => readonly Step[],
): Step[] {
  const { x, branch, fault } = state;
  const scale = plan.residualScale;
  if (!postNorm) return [...steps({ y: x, add: true, scale })];
  return [
    ...steps({ y: branch, add: false, scale: 1 }),
    rmsnorm(gpu, { ...normArgs(weights, postNorm), x: branch, y: x, add: true, scale, fault }),
  ];
}

/** The arguments of `rmsnorm` that a plan decides. */
export function normArgs(weights: Weights, { kind, weight, bias, epsilon }: NormSpec) {
  return {
    kind,
    weight: weights.vector(weight.name),
    bias: bias && weights.vector(bias.name),
    epsilon,
  };
}
