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

/** Bytes of a folded router's weight: a guess needs no more than a half. */
const WEIGHT_BYTES = 2;

/** Makes room for the routers of all sites, in as many buffers as the binding limit asks for. */
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
  const siteBytes = WEIGHT_BYTES * experts * cols;
  const sitesEach = Math.floor(gpu.maxBindingBytes / siteBytes);
  const [first] = blocks;
  if (lookahead === 0 || first === undefined || sitesEach === 0) return { setup: [], at: () => [] };
  const { epsilon } = first.norm;
  const setup: Step[] = [];
  const parts: { gates: GPUBuffer; firstSite: number; sites: number }[] = [];
  for (let firstSite = 0; firstSite < blocks.length; firstSite += sitesEach) {
    const here = blocks.slice(firstSite, firstSite + sitesEach);
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST;
    const gates = gpu.buffer("next gates", here.length * siteBytes, usage);
    parts.push({ gates, firstSite, sites: here.length });
    for (const [site, { norm, moe }] of here.entries()) {
      const router = moe.router.logits.layers.flatMap((layer) => weights.matrix(layer));
      setup.push(...pack_gate(gpu, { router, norm: weights.vector(norm.weight.name), gates, site, experts }));
    }
  }
  const stride = guessStride(plan, sizes);
  const { x, fault, guesses } = state;
  return {
    setup,
    at: (source, index) => {
      const logits = { buffer: guesses, offset: index * stride, size: stride };
      return parts.map((part) =>
        next_gate(gpu, { ...part, experts, cols, lookahead, epsilon, source, fault, x, logits }),
      );
    },
  };
}
