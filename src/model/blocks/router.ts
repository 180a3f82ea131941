import type { Step } from "../../gpu/program.ts";
import type { Pointwise } from "../../kernels/activation.ts";
import { cosine_gate } from "../../kernels/cosine_gate.ts";
import { matmul } from "../../kernels/matmul.ts";
import { recurrent_cell } from "../../kernels/recurrent_cell.ts";
import { small_matmul } from "../../kernels/small_matmul.ts";
import { tree_gate } from "../../kernels/tree_gate.ts";
import {
  type CosineSpec,
  cellOf,
  cellSize,
  type MoeSpec,
  type RecurrentCell,
  type RouterSpec,
} from "../moe_plan.ts";
import { hasWholeGroups, type Linear } from "../plan.ts";
import { logitsOf, moeSites } from "../state.ts";
import type { Build } from "./build.ts";
import { requestLogits, routerInput, sharesLogits, siteLogits } from "./route_source.ts";

/**
 * The steps that leave a site's logits where `logitsOf` says, and in `state.carried` what its token carries on. Both
 * outlive a stop at the site: what is run again begins behind these steps.
 */
export function routerLogits(build: Build, moe: MoeSpec, site: number): Step[] {
  const { input: source, draws: each = "token", tasks, logits: gating } = moe.router;
  if (source === "given") return [requestLogits(build, moe, site, { rule: "given" })];
  if (source === "draw") return [requestLogits(build, moe, site, { rule: "draw", each })];
  if (sharesLogits(build, moe, site)) return [];
  const { steps, input } = routerInput(build, moe, site);
  if (tasks && !tasks.embedding) {
    const { projected: all } = build.state;
    return [
      ...multiply(build, gating.layers, input, all),
      requestLogits(build, moe, site, { rule: "task", tasks: tasks.count, all }),
    ];
  }
  const logits = siteLogits(build, moe, site);
  if (gating.tree) return [...steps, ...treeWeights(build, moe, input, logits)];
  const own = [...steps, ...ownLogits(build, moe.router, site, input, logits)];
  if (!gating.previous) return own;
  return [
    ...own,
    ...multiply(build, [gating.previous], logitsOf(build.state, site - 1), logits, { add: true }),
  ];
}

/** The experts' weights in place of logits. No block's own product is needed here. */
function treeWeights(
  build: Build,
  { experts, router }: MoeSpec,
  input: GPUBuffer,
  logits: GPUBuffer,
): Step[] {
  const { gpu, weights, state } = build;
  const { layers, tree } = router.logits;
  if (!tree) return [];
  const { count: trees, gamma, permutations } = tree;
  const { projected: products, fault } = state;
  return [
    ...multiply(build, layers, input, products),
    tree_gate(gpu, {
      ...{ experts, trees, gamma, products, weights: logits, fault },
      permutations: permutations && weights.vector(permutations.name),
    }),
  ];
}

/** What a router's layers make of its input. */
function ownLogits(
  build: Build,
  router: RouterSpec,
  site: number,
  input: GPUBuffer,
  logits: GPUBuffer,
): Step[] {
  const { layers, between, cosine } = router.logits;
  if (cosine) return byCosine(build, cosine, layers, input, logits);
  if (between === undefined) return multiply(build, layers, input, logits);
  const [into, ...outOf] = layers;
  if (typeof between === "string") {
    // No block's own product is needed here.
    const { projected } = build.state;
    return [
      ...multiply(build, [into as Linear], input, projected, { activation: between }),
      ...multiply(build, outOf, projected, logits),
    ];
  }
  return [
    ...advance(build, between, into as Linear, input, site),
    ...multiply(build, outOf, carried(build).state, logits),
  ];
}

/** state = cell(into · input, state). No block's own products are needed here, so theirs give way. */
function advance(build: Build, cell: RecurrentCell, into: Linear, input: GPUBuffer, site: number): Step[] {
  const { gpu, plan, state } = build;
  const { attended: seen, projected: fromInput, queries: fromState, fault } = state;
  const isStart = !moeSites(plan)
    .slice(0, site)
    .some((earlier) => cellOf(earlier).length > 0);
  const { state: hidden, zeros } = carried(build);
  return [
    ...multiply(build, [into], input, seen),
    ...multiply(build, cell.input, seen, fromInput),
    ...multiply(build, cell.state, isStart ? zeros : hidden, fromState),
    recurrent_cell(gpu, {
      ...{ kind: cell.kind, size: cellSize(cell), isStart },
      ...{ fromInput, fromState, state: hidden, fault },
    }),
  ];
}

/** No block's own product is needed here. */
function byCosine(
  build: Build,
  { centroids, factor, temperature, least }: CosineSpec,
  layers: readonly Linear[],
  input: GPUBuffer,
  logits: GPUBuffer,
): Step[] {
  const { gpu, weights, state } = build;
  const [experts = 1, cols = 1] = centroids.shape;
  const { projected: z, fault } = state;
  return [
    ...multiply(build, layers, input, z),
    cosine_gate(gpu, {
      ...{ experts, cols, factor, least, z, logits, fault },
      centroids: weights.vector(centroids.name),
      temperature: temperature && { ...temperature, vector: weights.vector(temperature.tensor.name) },
    }),
  ];
}

function carried({ state }: Build) {
  if (!state.carried) throw new Error("no room for what routers carry on");
  return state.carried;
}

/** y = activation(W·x) or y += W·x, the rows of `linears` stacked. */
function multiply(
  { gpu, weights, state, tile }: Build,
  linears: readonly Linear[],
  x: GPUBuffer,
  y: GPUBuffer,
  { activation, add = false }: { readonly activation?: Pointwise; readonly add?: boolean } = {},
): Step[] {
  const { fault } = state;
  // Those that are stacked have rows of one length.
  const [first] = linears;
  if (first && !hasWholeGroups(first.weight)) {
    const matrices = linears.map(({ weight, bias }) => {
      return { matrix: weights.vector(weight.name), bias: bias && weights.vector(bias.name) };
    });
    return small_matmul(gpu, { matrices, cols: first.weight.shape.at(-1) ?? 1, add, x, y, fault });
  }
  const matrices = linears.flatMap((w) => weights.matrix(w));
  return matmul(gpu, { matrices, x, y, tile, activation, add, fault });
}
