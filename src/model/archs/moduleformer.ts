import type { Pointwise } from "../../kernels/activation.ts";
import type { ExpertSpec, RouterSpec } from "../moe_plan.ts";
import type { Block, FeedForwardBlock, ModelPlan } from "../plan.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

const MOST_EXPERTS = 1 << 16;
const MOST_LENGTH = 1 << 20;
/** What torch.nn.functional.normalize takes for the length of nothing. */
const LEAST_LENGTH = 1e-12;

/**
 * ModuleFormer (Shen et al. 2023): the queries and outputs of attention are experts too, over keys and values that they
 * share; no positions. Weights are raw. There is no GGUF file of it.
 */
export function moduleformer(reader: FileReader): ModelPlan {
  const parts = new Parts(reader, { norms: "layer" });
  return parts.model((l): Block[] => [attention(parts, l), feedForward(parts, l)]);
}

function attention(parts: Parts, l: number): Block {
  const { reader, width } = parts;
  const heads = reader.count("attention.head_count", 1 << 12);
  const hidden = heads * parts.keySize;
  const experts = reader.count("attention.expert_count", MOST_EXPERTS);
  const matrix = (part: string, rows: number, cols: number) => ({
    weight: reader.tensor(`blk.${l}.attn_${part}_exps.weight`, [experts, rows, cols]),
  });
  const spec: ExpertSpec = {
    kind: "attention",
    q: matrix("q", hidden, width),
    output: matrix("output", width, hidden),
  };
  const linear = (part: string) => parts.linear(`blk.${l}.attn_${part}`, hidden);
  return {
    kind: "expert-attention",
    norm: parts.norm(`blk.${l}.attn_norm`),
    heads,
    headSize: parts.keySize,
    // The authors' code does without matrices here.
    keyValue: hidden === width && heads === 1 ? undefined : { k: linear("k"), v: linear("v") },
    scale: 1 / Math.sqrt(parts.keySize),
    moe: {
      experts,
      router: router(parts, `blk.${l}.attn`, experts, reader.count("attention.expert_used_count", experts)),
      table: [{ first: 0, count: experts, spec }],
    },
  };
}

function feedForward(parts: Parts, l: number): FeedForwardBlock {
  const { reader, width } = parts;
  const experts = reader.count("expert_count", MOST_EXPERTS);
  const matrix = (part: string, rows: number, cols: number) => ({
    weight: reader.tensor(`blk.${l}.ffn_${part}_exps.weight`, [experts, rows, cols]),
  });
  const hidden = parts.expertHidden;
  const spec: ExpertSpec = {
    kind: "two-matrix",
    activation: reader.text("expert.activation") as Pointwise,
    up: matrix("up", hidden, width),
    down: matrix("down", width, hidden),
  };
  return {
    kind: "feed-forward",
    norm: parts.norm(`blk.${l}.ffn_norm`),
    moe: {
      experts,
      router: router(parts, `blk.${l}.ffn`, experts, reader.count("expert_used_count", experts)),
      table: [{ first: 0, count: experts, spec }],
    },
  };
}

function router(parts: Parts, block: string, experts: number, k: number): RouterSpec {
  return {
    input: "block",
    logits: { ...routerLogits(parts, `${block}_gate`, experts), gate: "softmax" },
    selection: { rule: "top-k", k },
    weights: { rule: "raw", scale: 1 },
  };
}

function routerLogits(
  parts: Parts,
  name: string,
  experts: number,
): Pick<RouterSpec["logits"], "layers" | "between" | "cosine"> {
  const { reader } = parts;
  const kind = reader.text("router.gate");
  if (kind === "linear") return { layers: [parts.linear(`${name}_inp_0`, experts)] };
  const length = reader.count("router.length", MOST_LENGTH);
  if (kind === "gmm") {
    return {
      layers: [parts.linear(`${name}_inp`, length)],
      cosine: {
        centroids: reader.tensor(`${name}_centroids.weight`, [experts, length]),
        factor: 1,
        temperature: { tensor: reader.tensor(`${name}_temperature.weight`, [1]) },
        least: LEAST_LENGTH,
      },
    };
  }
  return {
    layers: [parts.linear(`${name}_inp_0`, length), parts.linear(`${name}_inp_3`, experts, length)],
    between: "gelu-erf",
  };
}
