import type { Step } from "../../gpu/program.ts";
import { combine } from "../../kernels/combine.ts";
import { expert_down } from "../../kernels/expert_down.ts";
import { expert_gate_up } from "../../kernels/expert_gate_up.ts";
import { glu } from "../../kernels/glu.ts";
import { group } from "../../kernels/group.ts";
import { matmul } from "../../kernels/matmul.ts";
import { route } from "../../kernels/route.ts";
import { type FeedForwardBlock, type MoeSpec, maxRoutes, type RouterSpec } from "../plan.ts";
import { routeStride } from "../state.ts";
import type { SiteWeights } from "../weights.ts";
import { addTo, type Build, normalise, type Sum } from "./build.ts";
import { routerLogits } from "./router.ts";

/** A block's steps in order. A stop resumes with `experts`, where all before is as it was. */
export interface FeedForwardSteps {
  /** Run before the layer's other blocks: the routes, where they are known so early. */
  readonly early: readonly Step[];
  readonly before: readonly Step[];
  /** From where routes are resolved to slots; none in a dense block. */
  readonly experts: readonly Step[];
  readonly after: readonly Step[];
}

/** x += Σ weight · expert(n) over the token's RouteSet, x += base(n), n = norm(x), or only the one or the other. */
export function feedForward(build: Build, block: FeedForwardBlock, site: number): FeedForwardSteps {
  const { norm, moe, postNorm, parallel = false } = block;
  const before = parallel ? [] : [normalise(build, norm)];
  if (!moe) {
    const after = addTo(build, postNorm, (sum) => always(build, block, scaled(block, sum)));
    return { early: [], before, experts: [], after };
  }
  const { router, resolve, experts, add } = sparse(build, moe, site);
  const after = addTo(build, postNorm, (sum) => {
    const to = scaled(block, sum);
    return [add(to), ...always(build, block, { ...to, add: true })];
  });
  if (moe.router.input === "before-attention") {
    return { early: [...router, resolve], before, experts: [resolve, ...experts], after };
  }
  return { early: [], before: [...before, ...router], experts: [resolve, ...experts], after };
}

function scaled({ scale = 1 }: FeedForwardBlock, sum: Sum): Sum {
  return { ...sum, scale: scale * sum.scale };
}

/** The steps of an MoE site: logits, the RouteSet and its slots, the experts, their sum. */
function sparse(build: Build, moe: MoeSpec, site: number) {
  const { experts, router, table, bias } = moe;
  const { gpu, plan, weights, state, sizes, gates, chunk, tile } = build;
  const { pageBytes, segments, gate, up, down, pageTable } = weights.sites[site] as SiteWeights;
  const { normed, routerLogits: logits, counts, fault, tiles, pairs, hidden, expertRows: rows } = state;
  const { selection, logits: gating } = router;
  const topK = maxRoutes(router, experts);
  const stride = routeStride(plan, chunk);
  const routes = { buffer: state.routes, offset: site * stride, size: stride };
  const grouped = tile > 1 ? { size: tile, tiles, pairs } : undefined;
  const pool = { pageBytes, topK, experts, routes, grouped, fault };
  const spec = table[0]?.spec;
  const activation = spec?.kind === "gated" ? spec.activation : undefined;
  const isFirst = router.weights.first ?? false;
  return {
    router: [
      ...routerLogits(build, moe, site),
      ...(sizes.isTraced && chunk === 1 ? gates.at(site, 1 + site) : []),
    ],
    resolve: route(gpu, {
      ...{ experts, topK, logits, pageTable, routes, counts, fault },
      gate: gating.gate as "softmax" | "sigmoid" | "sqrt-softplus",
      groups:
        selection.rule === "group-limited"
          ? { count: selection.groups, used: selection.groupsUsed, by: selection.by }
          : undefined,
      takesAll: selection.rule === "all",
      shape: gating.shape && {
        function: gating.shape.function,
        bias: gating.shape.bias && weights.vector(gating.shape.bias.name),
      },
      renormalise: router.weights.rule === "renormalise",
      equal: equalOf(router.weights.rule),
      weightScale: router.weights.scale,
      selectionBias: gating.selectionBias && weights.vector(gating.selectionBias.name),
    }),
    // A prompt's pairs are grouped so that an expert's weights are read once for several tokens.
    experts: [
      ...(grouped
        ? [group(gpu, { experts, topK, tile, maxTokens: chunk, routes, counts, tiles, pairs, fault })]
        : []),
      ...segments.map((segment) =>
        expert_gate_up(gpu, {
          ...pool,
          segment,
          gate,
          up,
          activation,
          weightsFirst: isFirst,
          x: normed,
          hidden,
        }),
      ),
      ...segments.map((segment) => expert_down(gpu, { ...pool, segment, down, hidden, rows })),
    ],
    add: ({ y, add, scale }: Sum) =>
      combine(gpu, {
        ...{ cols: plan.width, topK, rows, routes, counts, x: y, fault },
        ...{ store: !add, weighted: !isFirst, scale },
        bias: bias && { vector: weights.vector(bias.name), scale: router.weights.scale },
      }),
  };
}

function equalOf(rule: RouterSpec["weights"]["rule"]) {
  return rule === "one" || rule === "one-over-share" ? rule : undefined;
}

/** base(n), what every token goes through: down · (act(gate · n) ⊙ (up · n)) · sigmoid(its own gate · n). */
function always({ gpu, weights, state, tile }: Build, { base }: FeedForwardBlock, sum: Sum): Step[] {
  if (base?.expert.kind !== "gated") return [];
  const { gate, up, down, activation } = base.expert;
  const { normed, gateUp, hidden, fault } = state;
  const linears = [gate, up, ...(base.gate ? [base.gate] : [])];
  return [
    ...matmul(gpu, {
      ...{ matrices: linears.flatMap((w) => weights.matrix(w)), x: normed, y: gateUp },
      ...{ scalesBias: up.scalesBias, tile, fault },
    }),
    glu(gpu, {
      ...{ rows: up.weight.shape.at(-2) ?? 0, gated: base.gate !== undefined, activation },
      ...{ gu: gateUp, h: hidden, fault },
    }),
    ...matmul(gpu, {
      ...{ matrices: weights.matrix(down), x: hidden, ...sum },
      ...{ scalesBias: down.scalesBias, tile, fault },
    }),
  ];
}
