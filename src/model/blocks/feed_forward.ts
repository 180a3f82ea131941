import type { Gpu } from "../../gpu/gpu.ts";
import type { BoundBuffer } from "../../gpu/pipelines.ts";
import type { Step } from "../../gpu/program.ts";
import { combine } from "../../kernels/combine.ts";
import { expert_down } from "../../kernels/expert_down.ts";
import { expert_gate_up } from "../../kernels/expert_gate_up.ts";
import { type ExpertUpArgs, expert_up } from "../../kernels/expert_up.ts";
import { glu } from "../../kernels/glu.ts";
import { group } from "../../kernels/group.ts";
import { matmul } from "../../kernels/matmul.ts";
import type { PageMatrix } from "../../kernels/matrix.ts";
import type { ExpertRange, PagelessExperts } from "../../kernels/pageless.ts";
import { residual_mix } from "../../kernels/residual_mix.ts";
import { route } from "../../kernels/route.ts";
import {
  constantExperts,
  type ExpertSpec,
  expertLinears,
  type MoeSpec,
  maxRoutes,
  pagedTable,
  type RouterSpec,
} from "../moe_plan.ts";
import type { FeedForwardBlock, Linear } from "../plan.ts";
import { routeStride } from "../state.ts";
import type { SiteWeights } from "../weights.ts";
import { addTo, type Build, normalise, type Sum } from "./build.ts";
import { moveBy } from "./momentum.ts";
import { siteLogits } from "./route_source.ts";
import { routerLogits } from "./router.ts";

/** A block's steps in order. A stop resumes with `experts`, where all before is as it was. */
export interface BlockSteps {
  /** The routes, where they are known before the block's turn, and where they are run then. */
  readonly early: readonly Step[];
  readonly place?: EarlyPlace | undefined;
  readonly before: readonly Step[];
  /** From where routes are resolved to slots; none in a dense block. */
  readonly experts: readonly Step[];
  readonly after: readonly Step[];
}

/** Before all layers, before the experts of the site before, or before the layer's other blocks. */
export type EarlyPlace = "program" | "site before" | "layer";

const EARLY: Partial<Record<RouterSpec["input"], EarlyPlace>> = {
  token: "program",
  "previous-layer": "site before",
  "before-attention": "layer",
  "beside-attention": "layer",
};

/** x += Σ weight · expert(n) over the token's RouteSet, x += base(n), n = norm(x), or only the one or the other. */
export function feedForward(whole: Build, block: FeedForwardBlock, site: number): BlockSteps {
  const { norm, moe, parallel = false, momentum } = block;
  const build = momentum?.isPostNorm ? withoutNorm(whole) : whole;
  const before = parallel || momentum?.isPostNorm ? [] : [normalise(build, norm)];
  if (!moe) {
    const after = add(build, block, site, (sum) => always(build, block, scaled(block, sum)));
    return { early: [], before, experts: [], after };
  }
  const { router, resolve, experts, addUp } = sparse(build, moe, site);
  const after = add(build, block, site, (sum) => {
    const to = scaled(block, sum);
    if (block.mix) return mixed(build, block, block.mix, addUp, to);
    return [...addUp(to), ...always(build, block, { ...to, add: true })];
  });
  const place = EARLY[moe.router.input];
  if (place) {
    const first = moe.router.input === "beside-attention" ? [normalise(build, norm)] : [];
    const early = [...first, ...router, resolve];
    return { early, place, before, experts: [resolve, ...experts], after };
  }
  return { early: [], before: [...before, ...router], experts: [resolve, ...experts], after };
}

/** What the experts give and what is always on, each times its share. No mixer's products are needed here. */
function mixed(
  build: Build,
  block: FeedForwardBlock,
  mix: Linear,
  addUp: (sum: Sum) => readonly Step[],
  sum: Sum,
): Step[] {
  const { gpu, plan, weights, state, tile } = build;
  const { normed, attended: a, projected: b, queries: z, fault } = state;
  const alone = { add: false, scale: 1 };
  return [
    ...addUp({ y: a, ...alone }),
    ...always(build, block, { y: b, ...alone }),
    ...matmul(gpu, { matrices: weights.matrix(mix), x: normed, y: z, tile, fault }),
    residual_mix(gpu, { cols: plan.width, z, a, b, ...sum, fault }),
  ];
}

/** What `steps` leave goes to x as the block has it. */
function add(
  build: Build,
  block: FeedForwardBlock,
  site: number,
  steps: (sum: Sum) => readonly Step[],
): Step[] {
  const { momentum } = block;
  return momentum ? moveBy(build, block, momentum, site, steps) : addTo(build, block.postNorm, steps);
}

/** What is normalised is x itself. */
function withoutNorm(build: Build): Build {
  return { ...build, state: { ...build.state, normed: build.state.x } };
}

function scaled({ scale = 1 }: FeedForwardBlock, sum: Sum): Sum {
  return { ...sum, scale: scale * sum.scale };
}

/** What runs between an expert's first product and its last, on the rows of all pairs. */
export interface Between {
  readonly steps: (routes: BoundBuffer) => readonly Step[];
  /** Where it leaves what the last product takes. */
  readonly result: GPUBuffer;
}

/** The steps of an MoE site: logits, the RouteSet and its slots, the experts, their sum. */
export function sparse(build: Build, moe: MoeSpec, site: number, between?: Between) {
  const { experts, router, bias, inputScale } = moe;
  const { gpu, plan, weights, state, sizes, gates, chunk, tile } = build;
  const { pageBytes, segments, matrices, pageTable } = weights.sites[site] as SiteWeights;
  const { normed, counts, fault, tiles, pairs, hidden, expertRows: rows } = state;
  const { selection, logits: gating } = router;
  const topK = maxRoutes(router, experts);
  const stride = routeStride(plan, chunk);
  const routes = { buffer: state.routes, offset: site * stride, size: stride };
  const grouped = tile > 1 ? { size: tile, tiles, pairs } : undefined;
  const pool = { pageBytes, topK, experts, routes, grouped, fault };
  const isFirst = router.weights.first ?? false;
  const spec = pagedTable(moe)[0]?.spec;
  const down = matrices.at(-1) as PageMatrix;
  return {
    router: [
      ...routerLogits(build, moe, site),
      ...(sizes.isTraced && chunk === 1 ? gates.at(site, 1 + site) : []),
    ],
    resolve: route(gpu, {
      ...{ experts, topK, pageTable, routes, counts, fault },
      logits: siteLogits(build, moe, site),
      // What trees give are weights already, and never below 0.
      gate: gating.gate === "tree" ? "relu" : gating.gate,
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
      deviation: gating.deviation,
      dropped: router.weights.dropsZeros ? rangesOf(moe, "zero") : undefined,
      selectionBias: gating.selectionBias && weights.vector(gating.selectionBias.name),
    }),
    // A prompt's pairs are grouped so that an expert's weights are read once for several tokens.
    experts: [
      ...(grouped
        ? [group(gpu, { experts, topK, tile, maxTokens: chunk, routes, counts, tiles, pairs, fault })]
        : []),
      ...segments.map((segment) =>
        intoHidden(gpu, spec, matrices, {
          ...pool,
          ...{ segment, weightsFirst: isFirst, inputScale, x: normed, hidden },
        }),
      ),
      ...(between?.steps(routes) ?? []),
      ...segments.map((segment) =>
        expert_down(gpu, { ...pool, segment, down, hidden: between?.result ?? hidden, rows }),
      ),
    ],
    addUp: ({ y, add, scale }: Sum) => [
      ...constantLogits(build, moe),
      combine(gpu, {
        ...{ cols: plan.width, topK, rows, routes, counts, x: y, fault },
        ...{ store: !add, weighted: !isFirst, scale },
        bias: bias && { vector: weights.vector(bias.name), scale: router.weights.scale },
        pageless: pagelessOf(build, moe),
      }),
    ],
  };
}

/** What the gates of constant experts say, in a buffer that no block's product is in by then. */
function constantLogits({ gpu, weights, state, tile }: Build, moe: MoeSpec): Step[] {
  const matrices = constantExperts(moe).flatMap(({ gate }) => weights.matrix(gate));
  if (matrices.length === 0) return [];
  const { normed: x, projected: y, fault } = state;
  return matmul(gpu, { matrices, x, y, tile, scale: moe.inputScale ?? 1, fault });
}

function pagelessOf({ weights, state }: Build, moe: MoeSpec): PagelessExperts | undefined {
  if (pagedTable(moe).length === moe.table.length) return undefined;
  return {
    zeros: rangesOf(moe, "zero"),
    copies: rangesOf(moe, "copy"),
    constants: constantExperts(moe).map(({ expert, vector }) => {
      return { expert, vector: weights.vector(vector.name) };
    }),
    ...{ input: state.normed, inputScale: moe.inputScale ?? 1, logits: state.projected },
  };
}

function rangesOf({ table }: MoeSpec, kind: ExpertSpec["kind"]): ExpertRange[] {
  return table.filter(({ spec }) => spec.kind === kind);
}

type IntoHidden = Omit<ExpertUpArgs, "up" | "activation">;

/** An expert's first product: of gate and up, or of up alone. */
function intoHidden(
  gpu: Gpu,
  spec: ExpertSpec | undefined,
  matrices: readonly PageMatrix[],
  args: IntoHidden,
): Step {
  const [first, second] = matrices as [PageMatrix, PageMatrix];
  if (spec?.kind === "two-matrix") return expert_up(gpu, { ...args, activation: spec.activation, up: first });
  if (spec?.kind === "attention") return expert_up(gpu, { ...args, activation: "linear", up: first });
  const activation = spec?.kind === "gated" ? spec.activation : undefined;
  return expert_gate_up(gpu, { ...args, activation, gate: first, up: second });
}

function equalOf(rule: RouterSpec["weights"]["rule"]) {
  return rule === "one" || rule === "one-over-share" ? rule : undefined;
}

/** base(n), what every token goes through: down · (act(gate · n) ⊙ (up · n)) · sigmoid(its own gate · n), or without gate. */
function always({ gpu, weights, state, tile }: Build, { base }: FeedForwardBlock, sum: Sum): Step[] {
  const { expert } = base ?? {};
  if (expert?.kind !== "gated" && expert?.kind !== "two-matrix") return [];
  const { up, down, activation } = expert;
  const { normed, gateUp, hidden, fault } = state;
  const linears = [...expertLinears(expert).slice(0, -1), ...(base?.gate ? [base.gate] : [])];
  return [
    ...matmul(gpu, {
      ...{ matrices: linears.flatMap((w) => weights.matrix(w)), x: normed, y: gateUp },
      ...{ scalesBias: up.scalesBias, tile, fault },
    }),
    glu(gpu, {
      ...{ rows: up.weight.shape.at(-2) ?? 0, gated: base?.gate !== undefined, activation },
      single: expert.kind === "two-matrix",
      ...{ gu: gateUp, h: hidden, fault },
    }),
    ...matmul(gpu, {
      ...{ matrices: weights.matrix(down), x: hidden, ...sum },
      ...{ scalesBias: down.scalesBias, tile, fault },
    }),
  ];
}
