import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import { next_gate } from "../kernels/next_gate.ts";
import { pack_gate } from "../kernels/pack_gate.ts";
import type { ModelPlan } from "./plan.ts";
import { guessStride, moeBlocks, mostExperts, type State, type StateSizes } from "./state.ts";
import type { Weights } from "./weights.ts";

/** Routers folded with their norms, and the steps that ask them early. */
export interface NextGates {
  /** Folds; run once, when the dense weights are there. */
  readonly setup: readonly Step[];
  /** Asks the routers past `source`, or past where the program stopped, into the `index`-th range of `state.guesses`. */
  at(source: number | "fault", index: number): Step[];
}

/**
 * A router of one matrix of the residual stream can be asked early; what it carries would have to step through the sites
 * between with the wrong inputs.
 */
export function canAskEarly(plan: ModelPlan): boolean {
  return moeBlocks(plan).every(
    ({ moe: { router }, momentum }) =>
      !router.logits.between &&
      !router.logits.tree &&
      !router.logits.cosine &&
      !router.state &&
      ["block", "before-attention", "beside-attention"].includes(router.input) &&
      !momentum?.isPostNorm,
  );
}

export function nextGates(
  gpu: Gpu,
  plan: ModelPlan,
  weights: Weights,
  state: State,
  sizes: StateSizes,
): NextGates {
  const { lookahead } = sizes;
  const blocks = moeBlocks(plan);
  const experts = mostExperts(plan);
  const cols = plan.width;
  const [first] = blocks;
  if (first === undefined || state.gates.length === 0) return { setup: [], at: () => [] };
  const isNormed = first.moe.router.input !== "before-attention";
  const { epsilon } = first.norm;
  const kind = isNormed ? first.norm.kind : "none";
  const setup = state.gates.flatMap(({ gates, firstSite, sites }) =>
    blocks.slice(firstSite, firstSite + sites).flatMap((block, site) => {
      const router = block.moe.router.logits.layers.flatMap((layer) => weights.matrix(layer));
      const norm = isNormed ? weights.vector(block.norm.weight.name) : undefined;
      return pack_gate(gpu, { router, norm, gates, site, experts });
    }),
  );
  const stride = guessStride(plan, sizes);
  const { x, fault, guesses } = state;
  return {
    setup,
    at: (source, index) => {
      const logits = { buffer: guesses, offset: index * stride, size: stride };
      return state.gates.map((part) =>
        next_gate(gpu, { ...part, experts, cols, lookahead, kind, epsilon, source, fault, x, logits }),
      );
    },
  };
}
