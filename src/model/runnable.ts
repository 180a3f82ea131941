import { SluiceError } from "../errors.ts";
import { GROUP_WEIGHTS, isRunnable, runnableTypes } from "../quant/layout.ts";
import type { TensorInfo } from "../source/model_file.ts";
import type {
  AttentionBlock,
  Block,
  ExpertSpec,
  FeedForwardBlock,
  Linear,
  ModelPlan,
  MoeSpec,
  NormSpec,
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
  const linear = ({ weight }: Linear) => needMatrix(weight, need);
  linear(plan.embedding);
  linear(plan.output);
  needNorm(plan.finalNorm, need);
  for (const { blocks } of plan.layers) for (const block of blocks) needBlock(block, need);
  if (missing.size > 0) {
    const pieces = [...missing].join("; ");
    throw new SluiceError("unsupported-model", `${plan.name} (${plan.architecture}) needs: ${pieces}`, {
      remedy: "Use a model without these, or convert the file to a supported type.",
      details: { architecture: plan.architecture, missing: pieces },
    });
  }
}

type Need = (ok: boolean, what: string) => void;

function needMatrix({ name, type, shape }: TensorInfo, need: Need): void {
  need(isRunnable(type), `weights of type ${type} (tensor ${name}; supported: ${runnableTypes.join(", ")})`);
  const cols = shape.at(-1) ?? 0;
  need(
    cols % GROUP_WEIGHTS === 0,
    `rows of ${cols} weights, not a multiple of ${GROUP_WEIGHTS} (tensor ${name})`,
  );
}

function needNorm({ kind, bias, weight }: NormSpec, need: Need): void {
  need(kind === "rms" && !bias, "layer norm");
  need(
    (weight.shape.at(-1) ?? 0) % 4 === 0,
    `a norm over a length that is not a multiple of 4 (${weight.name})`,
  );
}

function needBlock(block: Block, need: Need): void {
  needNorm(block.norm, need);
  if (block.kind === "attention") needAttention(block, need);
  else if (block.kind === "feed-forward") needFeedForward(block, need);
  else need(false, `${block.recurrence} blocks`);
}

function needAttention(block: AttentionBlock, need: Need): void {
  const { heads, kvHeads, keySize, valueSize } = block;
  if (heads % kvHeads !== 0) {
    throw new SluiceError("bad-model-file", `${heads} heads cannot share ${kvHeads} key-value heads`, {
      remedy: "Download or convert the file again.",
      details: { heads, kvHeads },
    });
  }
  for (const { weight } of [block.q, block.k, block.v, block.output]) needMatrix(weight, need);
  need(keySize === valueSize, `keys of ${keySize} and values of ${valueSize} elements`);
  need(keySize % 4 === 0, `heads of ${keySize} elements, not a multiple of 4`);
  for (const norm of [block.qNorm, block.kNorm]) if (norm) needNorm(norm, need);
  need(block.window === undefined, "windowed attention");
  need(block.sinks === undefined, "attention sinks");
  need(block.latent === undefined, "multi-head latent attention");
}

function needFeedForward({ base, moe }: FeedForwardBlock, need: Need): void {
  if (base) {
    needExpert(base.expert, need);
    if (base.gate) needMatrix(base.gate.weight, need);
  }
  if (moe) needMoe(moe, need);
}

function needMoe({ router, table }: MoeSpec, need: Need): void {
  const { logits, selection, weights, input, state } = router;
  need(input === "block", `a router fed from ${input}`);
  need(logits.layers.length === 1 && !logits.between, "a router of several layers");
  need(logits.gate === "softmax" && !logits.temperature, `a ${logits.gate} router`);
  need(selection.rule === "top-k", `${selection.rule} selection`);
  need(weights.rule !== "one", "unweighted experts");
  need(state === undefined, "a router with state");
  for (const { weight } of logits.layers) needMatrix(weight, need);
  need(table.length === 1, "experts of several kinds");
  for (const { spec } of table) {
    needExpert(spec, need);
    if (spec.kind !== "gated") continue;
    for (const { bias } of [spec.gate, spec.up, spec.down]) need(!bias, "biases on experts");
  }
}

function needExpert(spec: ExpertSpec, need: Need): void {
  need(spec.kind === "gated", `${spec.kind} experts`);
  if (spec.kind !== "gated") return;
  need(spec.activation === "silu", `the activation ${spec.activation}`);
  for (const { weight } of [spec.gate, spec.up, spec.down]) needMatrix(weight, need);
}
