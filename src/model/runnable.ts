import { SluiceError } from "../errors.ts";
import { GROUP_WEIGHTS, isRunnable, runnableTypes } from "../quant/layout.ts";
import type { TensorInfo } from "../source/model_file.ts";
import { mixerOf } from "./blocks/mixer.ts";
import {
  cellOf,
  type ExpertSpec,
  expertLinears,
  type MoeSpec,
  maxRoutes,
  pagedTable,
  type TokenReader,
} from "./moe_plan.ts";
import {
  type AttentionBlock,
  type Block,
  type FeedForwardBlock,
  hasWholeGroups,
  type Linear,
  type ModelPlan,
  moeLayers,
  moeOf,
  type NormSpec,
  outputLinears,
  type ProductKeyBlock,
  recurrentCells,
  ropeSpecs,
} from "./plan.ts";

/**
 * Throws `unsupported-model` naming everything in the plan that has no kernel yet, and `bad-model-file` for
 * sizes that contradict each other. After it, the forward pass takes the plan as it is.
 */
export function requireRunnable(plan: ModelPlan): void {
  const missing = new Set<string>();
  const need = (ok: boolean, what: string) => {
    if (!ok) missing.add(what);
  };
  for (const { frequencies, magnitude } of ropeSpecs(plan)) {
    for (const value of [magnitude, ...frequencies]) requireFinite("rope.scaling", value);
  }
  const { embedding } = plan;
  if ("kind" in embedding) for (const vector of [embedding.gate, embedding.value]) needFloats(vector, need);
  else needLinear(embedding, need);
  if (plan.positions) needLinear(plan.positions, need);
  for (const linear of outputLinears(plan)) needLinear(linear, need);
  needNorm(plan.finalNorm, need);
  for (const { blocks } of plan.layers) {
    for (const block of blocks) needBlock(block, need);
    const sites = blocks.map(moeOf).filter((moe) => moe !== undefined);
    const isEarly = sites.some(({ router }) => EARLY.includes(router.input));
    need(!isEarly || sites.length === 1, "routes known early beside other experts of the layer");
  }
  needKeyWeights(plan, need);
  need(recurrentCells(plan).length <= 1, "routers of several recurrent cells");
  needTogether(plan, need);
  if (missing.size > 0) {
    const pieces = [...missing].join("; ");
    throw new SluiceError("unsupported-model", `${plan.name} (${plan.architecture}) needs: ${pieces}`, {
      remedy: "Use a model without these, or convert the file to a supported type.",
      details: { architecture: plan.architecture, missing: pieces },
    });
  }
}

/** A lane holds the tokens of a convolution. */
const MOST_TAPS = 64;

type Need = (ok: boolean, what: string) => void;

function needMatrix({ name, type, shape }: TensorInfo, need: Need): void {
  need(isRunnable(type), `weights of type ${type} (tensor ${name}; supported: ${runnableTypes.join(", ")})`);
  const cols = shape.at(-1) ?? 0;
  need(
    cols % GROUP_WEIGHTS === 0,
    `rows of ${cols} weights, not a multiple of ${GROUP_WEIGHTS} (tensor ${name})`,
  );
}

function needLinear({ weight, bias, scale }: Linear, need: Need): void {
  needMatrix(weight, need);
  for (const vector of [bias, scale]) if (vector) needFloats(vector, need);
}

const FLOATS: readonly string[] = ["F32", "F16", "BF16"];

/** Of vectors, whose shares in pages need not be whole blocks. */
function needFloats({ name, type }: TensorInfo, need: Need): void {
  need(FLOATS.includes(type), `a vector of type ${type} (tensor ${name}; supported: ${FLOATS.join(", ")})`);
}

function needNorm({ weight, bias }: Pick<NormSpec, "weight" | "bias">, need: Need): void {
  const { name, shape } = weight;
  need((shape.at(-1) ?? 0) % 4 === 0, `a norm over a length that is not a multiple of 4 (${name})`);
  for (const vector of [weight, bias]) if (vector) needFloats(vector, need);
}

function needBlock(block: Block, need: Need): void {
  for (const norm of [block.norm, block.postNorm]) if (norm) needNorm(norm, need);
  if (block.kind === "feed-forward") {
    needFeedForward(block, need);
    return;
  }
  for (const linear of mixerOf(block).linears(block)) needLinear(linear, need);
  for (const vector of mixerOf(block).vectors(block)) needFloats(vector, need);
  if ("scale" in block) requireFinite("attention.scale", block.scale);
  if (block.kind === "attention") needAttention(block, need);
  if (block.kind === "expert-attention") {
    needHeads([block.headSize], need);
    const choices = maxRoutes(block.moe.router, block.moe.experts);
    need(choices < MOST_SHARED / 2, `${choices} experts of attention for a token (below ${MOST_SHARED / 2})`);
    needMoe(block.moe, need);
  }
  if (block.kind === "product-key") needProductKeys(block, need);
  if (block.kind === "short-convolution" || block.kind === "delta-net") {
    const taps = block.kernel.shape.at(-1) ?? 0;
    need(taps <= MOST_TAPS, `a convolution over ${taps} tokens (${block.kernel.name}; at most ${MOST_TAPS})`);
  }
  if (block.kind === "delta-net") {
    for (const size of [block.keySize, block.valueSize]) {
      need(size % 4 === 0, `heads of ${size} elements, not a multiple of 4`);
    }
  }
  if (block.kind === "latent-attention") {
    need(block.rotary % 4 === 0, `${block.rotary} rotated elements, not a multiple of 4`);
    needHeads([block.plain, block.valueSize], need);
  }
  if (block.kind === "delta-net") needHeads([block.keySize, block.valueSize], need);
  if ("kernel" in block) {
    const { name, shape } = block.kernel;
    need((shape.at(-1) ?? 0) > 1, `a convolution over ${shape.at(-1)} token (tensor ${name})`);
  }
}

/** Floats of workgroup memory that every adapter has. */
const MOST_SHARED = 4096;

function needProductKeys({ heads, units, up, down }: ProductKeyBlock, need: Need): void {
  const shared = up.length * heads * units;
  need(shared <= MOST_SHARED, `${shared} sums of product keys (at most ${MOST_SHARED})`);
  const types = new Set(down.map(({ weight: { type, stored = type } }) => stored));
  need(types.size === 1, `second matrices of product keys of several types (${[...types].join(", ")})`);
}

/** Weights of product keys are there, and of the same shape, where a block takes those of one before it. */
function needKeyWeights({ layers }: ModelPlan, need: Need): void {
  let left: ProductKeyBlock | undefined;
  for (const block of layers.flatMap(({ blocks }) => blocks)) {
    if (block.kind !== "product-key") continue;
    if (block.router) left = block;
    need(
      left?.heads === block.heads && left.keys === block.keys,
      "product keys whose weights no block before them leaves",
    );
  }
}

function needHeads(sizes: readonly number[], need: Need): void {
  for (const size of sizes) need(size % 4 === 0, `heads of ${size} elements, not a multiple of 4`);
}

/** As a float of 32 bits. */
function requireFinite(what: string, value: number): void {
  if (Number.isFinite(Math.fround(value))) return;
  throw new SluiceError("bad-model-file", `${what} comes to ${value}`, {
    remedy: "Download or convert the file again.",
    details: { what, value: String(value) },
  });
}

function needAttention(
  { heads, kvHeads, keySize, valueSize, qNorm, kNorm, mixture, sinks, gate }: AttentionBlock,
  need: Need,
): void {
  need(!mixture || !(sinks || gate), "a mixture of attention with sinks or gates");
  if (heads % kvHeads !== 0) {
    throw new SluiceError("bad-model-file", `${heads} heads cannot share ${kvHeads} key-value heads`, {
      remedy: "Download or convert the file again.",
      details: { heads, kvHeads },
    });
  }
  needHeads([keySize, valueSize], need);
  for (const norm of [qNorm, kNorm]) if (norm?.weight) needNorm({ weight: norm.weight }, need);
}

function needFeedForward({ base, moe, mix }: FeedForwardBlock, need: Need): void {
  need(!mix || (base !== undefined && moe !== undefined), "a mix of experts and nothing");
  if (mix) needLinear(mix, need);
  if (base) {
    needExpert(base.expert, need);
    if (base.gate) needLinear(base.gate, need);
  }
  if (moe) needMoe(moe, need);
}

const INPUTS: readonly string[] = [
  ...["block", "before-attention", "beside-attention", "previous-layer", "token", "task", "given", "draw"],
];
/** Routes that are resolved before the layer's other blocks run. */
const EARLY: readonly string[] = ["before-attention", "beside-attention"];
const RULES: readonly string[] = ["top-k", "group-limited", "top-p", "threshold", "all"];

const REASONS: Readonly<Record<string, string>> = {
  "expert-choice":
    " (an expert takes the tokens that suit it best, later ones too: exact in encoders, not where text is continued)",
  "whole-sequence":
    " (experts are chosen by all tokens together, later ones too: exact in encoders, not where text is continued)",
};

function needMoe(moe: MoeSpec, need: Need): void {
  const { router, table, bias } = moe;
  const { logits, selection, weights, input, state } = router;
  need(INPUTS.includes(input), `a router fed from ${input}`);
  const cells = cellOf(moe);
  need(
    logits.between === undefined || logits.layers.length === 2,
    `a router of ${logits.layers.length} layers`,
  );
  needSource(moe, need);
  need(RULES.includes(selection.rule), `${selection.rule} selection${REASONS[selection.rule] ?? ""}`);
  needTree(moe, need);
  need(selection.rule !== "top-p" || logits.gate === "softmax", `top-p selection by a ${logits.gate} router`);
  need(!logits.shape || logits.deviation === undefined, "a function of logits beside their deviation");
  const own = cells.length > 0 ? "hidden" : undefined;
  need(state === own || (!own && state === "previous-logits"), "a router with state");
  const [into, ...outOf] = logits.layers;
  if (into) needLinear(into, need);
  for (const linear of outOf) (logits.between ? needSmall : needLinear)(linear, need);
  if (logits.previous) needSmall(logits.previous, need);
  const isTopK = selection.rule === "top-k" && !logits.selectionBias && logits.gate === "softmax";
  need(
    !weights.dropsZeros || (isTopK && weights.rule === "renormalise"),
    "experts dropped by another rule than softmax top-k, renormalised",
  );
  for (const { input, state } of cells) for (const linear of [...input, ...state]) needSmall(linear, need);
  const { cosine } = logits;
  need(!cosine || logits.layers.length === 1, "cosines behind a router of two layers");
  const vectors = [
    ...[logits.selectionBias, logits.shape?.bias, bias],
    ...[cosine?.centroids, cosine?.temperature?.tensor],
  ];
  for (const vector of vectors) if (vector) needFloats(vector, need);
  need(pagedTable(moe).length === 1, "experts of several kinds with pages, or none with a page");
  for (const { spec } of table) needExpertOfSite(spec, need);
  const hasPageless = table.length > 1;
  need(!weights.first || !(hasPageless || moe.inputScale), "inputs weighed by routes and by the site");
  need(!bias || !hasPageless, "a bias beside experts without pages");
}

function needTree({ experts, router: { logits, selection, input, tasks } }: MoeSpec, need: Need): void {
  const { tree, between, previous, selectionBias, deviation, shape, temperature } = logits;
  need((logits.gate === "tree") === (tree !== undefined), "a gate of trees that are not told");
  if (!tree) return;
  need(experts > 1, "a tree of one expert");
  need(
    tree.count * experts <= MOST_SHARED,
    `${tree.count * experts} leaves of trees (at most ${MOST_SHARED})`,
  );
  need(selection.rule === "threshold", `${selection.rule} selection by a tree router`);
  const isPlain = ![between, previous, selectionBias, deviation, shape, temperature].some(Boolean);
  need(isPlain && !(tasks && !tasks.embedding), `a tree router that is more than trees, fed from ${input}`);
  if (tree.permutations) needFloats(tree.permutations, need);
}

/** As `needLinear`, but of any size: what is no whole groups of weights is read as floats. */
function needSmall(linear: Linear, need: Need): void {
  const { weight, bias, scale } = linear;
  if (hasWholeGroups(weight)) {
    needLinear(linear, need);
    return;
  }
  for (const floats of [weight, bias]) if (floats) needFloats(floats, need);
  need(!scale, `a small matrix with a scale (tensor ${weight.name})`);
}

function needExpertOfSite(spec: ExpertSpec, need: Need): void {
  if (spec.kind === "zero" || spec.kind === "copy") return;
  if (spec.kind === "constant") {
    needFloats(spec.vector, need);
    needLinear(spec.gate, need);
  } else needExpert(spec, need);
}

/** Of what a router reads beside its block's input. */
function needSource({ experts, router }: MoeSpec, need: Need): void {
  const { input, reader, tasks, logits, selection } = router;
  const readsNothing = input === "given" || input === "draw";
  need(
    readsNothing === (logits.layers.length === 0),
    `a router of ${logits.layers.length} layers fed from ${input}`,
  );
  if (reader) needReader(reader, need);
  need(!reader || input === "token", `a reader of tokens beside a router fed from ${input}`);
  if (tasks?.embedding) {
    needFloats(tasks.embedding, need);
    need(
      (tasks.embedding.shape.at(-1) ?? 0) % 4 === 0,
      "embeddings of tasks whose length is not a multiple of 4",
    );
  }
  need((tasks !== undefined) === (input === "task"), "a router that reads a task beside something else");
  const isOwn = tasks !== undefined && !tasks.embedding;
  need(!isOwn || logits.between === undefined, "a router of several layers for each task");
  need(
    input === "block" || input === "before-attention" || typeof logits.between !== "object",
    `a recurrent router fed from ${input}`,
  );
  need(
    input !== "draw" || (selection.rule === "top-k" && selection.k === 1),
    `draws of other than one of ${experts} experts`,
  );
}

function needReader({ table, blocks, norm }: TokenReader, need: Need): void {
  needLinear(table, need);
  if (norm) needNorm(norm, need);
  for (const block of blocks) {
    needBlock(block, need);
    const isPlain = !block.postNorm && !(block.kind === "feed-forward" && (block.moe || block.momentum));
    need(isPlain, "a router's reader of other than plain blocks");
  }
}

/** Of what sites have in common. */
function needTogether(plan: ModelPlan, need: Need): void {
  const routers = moeLayers(plan).map(({ moe }) => moe.router);
  need(routers[0]?.input !== "previous-layer", "a first router fed from the layer before");
  const shared = routers.filter(({ input }) => input === "token");
  const names = shared.map(({ reader, logits }) =>
    [reader?.table, ...logits.layers].map((linear) => linear?.weight.name).join(),
  );
  need(new Set(names).size <= 1, "several routers of tokens");
  const moving = plan.layers.flatMap(({ blocks }) =>
    blocks.flatMap((block) => (block.kind === "feed-forward" && block.momentum ? [block] : [])),
  );
  need(
    !moving.slice(1).some(({ momentum }) => momentum?.adam),
    "momentum by Adam behind the first block with experts",
  );
  const isBeside = moving.some(
    ({ momentum, postNorm, parallel }) => momentum?.isPostNorm && (postNorm || parallel),
  );
  need(!isBeside, "momentum.post_norm of a block beside another, or with a norm of its own behind it");
}

function needExpert(spec: ExpertSpec, need: Need): void {
  const linears = expertLinears(spec);
  need(linears.length > 0, `${spec.kind} experts`);
  for (const linear of linears) needLinear(linear, need);
}
