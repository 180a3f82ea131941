import type { Gpu } from "../gpu/gpu.ts";
import type { Step } from "../gpu/program.ts";
import { embed } from "../kernels/embed.ts";
import { embed_series } from "../kernels/embed_series.ts";
import { matmul } from "../kernels/matmul.ts";
import { rmsnorm } from "../kernels/rmsnorm.ts";
import { type Build, normArgs, normalise } from "./blocks/build.ts";
import { expertAttention } from "./blocks/expert_attention_site.ts";
import { type BlockSteps, type EarlyPlace, feedForward } from "./blocks/feed_forward.ts";
import { mixerOf } from "./blocks/mixer.ts";
import { nextGates } from "./next_gates.ts";
import { type Block, type ModelPlan, moeOf, outputLinears, tokenReader } from "./plan.ts";
import type { State, StateSizes } from "./state.ts";
import type { Weights } from "./weights.ts";

/** Steps built once and replayed for every token. */
export interface Program {
  readonly steps: readonly Step[];
  /** For each MoE site, in order. */
  readonly sites: readonly SiteSteps[];
}

/** Where in a program a site resolves its routes, and where it adds up what its experts gave. */
export interface SiteSteps {
  readonly route: number;
  readonly combine: number;
  /** Where it resolves them for the first time, before steps that do without its experts. */
  readonly early?: number | undefined;
}

/** The step at which a site stops the program if an expert is missing. */
export function lookAt(site: SiteSteps): number;
export function lookAt(site: SiteSteps | undefined): number | undefined;
export function lookAt(site: SiteSteps | undefined): number | undefined {
  return site?.early ?? site?.route;
}

export interface Programs {
  /** Run once, when the dense weights are there. */
  readonly setup: readonly Step[];
  /** A chunk of prompt tokens through all layers. */
  readonly prefill: Program;
  /** One token through all layers. */
  readonly decode: Program;
  /** Logits of row `params.row`, from which `Sampler` draws the next token. */
  readonly logits: readonly Step[];
  /** Run behind a token that was drawn: the residual stream begins anew with it. */
  readonly next: readonly Step[];
  /** Asks routers early, with the input of the site a program stopped at or, behind `next`, with the next token. */
  readonly ask: readonly Step[];
}

/** The model, told once: embed, for each layer mix tokens and feed forward, then logits. */
export function buildPrograms(
  gpu: Gpu,
  plan: ModelPlan,
  weights: Weights,
  state: State,
  sizes: StateSizes,
): Programs {
  const gates = nextGates(gpu, plan, weights, state, sizes);
  const { x, normed, logits, fault } = state;
  const embedding = embeddings(gpu, plan, weights, state);
  const layers = (chunk: number, tile: number): Program => {
    const build: Build = { gpu, plan, weights, state, sizes, gates, chunk, tile };
    const steps = embedding(false);
    const sites = addLayers(build, steps);
    return { steps, sites };
  };
  const toLogits = [
    rmsnorm(gpu, { ...normArgs(weights, plan.finalNorm), x, y: normed, head: true, fault }),
    ...matmul(gpu, {
      ...{ matrices: outputLinears(plan).flatMap((linear) => weights.matrix(linear)) },
      ...{ x: normed, y: logits, tile: 1, fault },
      ...{ scale: plan.outputScale, softcap: plan.outputSoftcap },
    }),
  ];
  const ask = gates.at("fault", 0);
  return {
    setup: gates.setup,
    prefill: layers(sizes.chunk, sizes.tile),
    decode: layers(1, 1),
    logits: toLogits,
    next: ask.length > 0 ? embedding(true) : [],
    ask,
  };
}

/** How a residual stream begins: with the positions of a replay, or with what was drawn last. Nothing is drawn of a series. */
function embeddings(gpu: Gpu, plan: ModelPlan, weights: Weights, state: State): (next: boolean) => Step[] {
  const { x, tokens, fault } = state;
  const { embedding, embeddingScale: scale } = plan;
  if (!("kind" in embedding)) {
    const table = weights.matrix(embedding);
    const positions = plan.positions && weights.matrix(plan.positions);
    return (next) => [
      ...embed(gpu, { table, tokens, x, scale, next, fault }),
      ...(positions
        ? embed(gpu, { table: positions, positions: true, tokens, x, scale: 1, next, fault })
        : []),
    ];
  }
  const { size, activation } = embedding;
  const [gate, value] = [embedding.gate, embedding.value].map(({ name }) => weights.vector(name));
  return (next) =>
    next || !gate || !value
      ? []
      : [embed_series(gpu, { size, activation, gate, value, points: tokens, x, fault })];
}

/** All blocks in order. Routes that are known early run where they are first known. */
function addLayers(build: Build, steps: Step[]): SiteSteps[] {
  const layers = partsOf(build);
  const moe = layers.flat().filter(({ experts }) => experts.length > 0);
  const sites: SiteSteps[] = [];
  /** The step that first resolves a site's routes. */
  const looks = new Map<Part, number>();
  const addEarly = (part: Part | undefined, place: EarlyPlace) => {
    if (part?.place === place) looks.set(part, steps.push(...part.early) - 1);
  };
  steps.push(...readTokens(build));
  for (const part of moe) addEarly(part, "program");
  for (const parts of layers) {
    for (const part of parts) addEarly(part, "layer");
    for (const part of parts) {
      steps.push(...part.before);
      if (part.experts.length > 0) addEarly(moe[sites.length + 1], "site before");
      const route = steps.length;
      const combine = steps.push(...part.experts);
      steps.push(...part.after);
      if (part.experts.length > 0) sites.push({ route, combine, early: looks.get(part) });
    }
  }
  return sites;
}

type Part = BlockSteps;

/** What a router makes of the tokens, if one reads them with blocks of its own. */
function readTokens(build: Build): Step[] {
  const { gpu, plan, weights, state } = build;
  const reader = tokenReader(plan);
  const { tokenStream } = state;
  if (!reader || !tokenStream) return [];
  const { table, blocks, norm } = reader;
  const width = table.weight.shape.at(-1) ?? 0;
  const own: Build = {
    ...build,
    plan: { ...plan, width, residualScale: 1 },
    state: { ...state, ...tokenStream },
  };
  const { tokens, fault } = state;
  return [
    ...embed(gpu, { table: weights.matrix(table), tokens, x: tokenStream.x, scale: 1, fault }),
    ...blocks.flatMap((block) => {
      if (block.kind !== "feed-forward") return mixerOf(block).steps(own, block);
      const { before, after } = feedForward(own, block, 0);
      return [...before, ...after];
    }),
    ...(norm ? [normalise(own, norm)] : []),
  ];
}

/** The steps of every block, by layer. */
function partsOf(build: Build): Part[][] {
  let site = 0;
  return build.plan.layers.map(({ blocks }) =>
    blocks.map((block) => blockSteps(build, block, moeOf(block) ? site++ : site)),
  );
}

function blockSteps(build: Build, block: Block, site: number): BlockSteps {
  if (block.kind === "feed-forward") return feedForward(build, block, site);
  const before = mixerOf(block).steps(build, block);
  if (block.kind === "expert-attention") return { early: [], ...expertAttention(build, block, before, site) };
  return { before, early: [], experts: [], after: [] };
}
