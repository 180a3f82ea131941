import type { Pointwise } from "../../kernels/activation.ts";
import type { TensorInfo } from "../../source/model_file.ts";
import type { Linear, ModelPlan, ProductKeyBlock, ProductKeyRouter } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { normalQuantile } from "./normal_quantile.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

const MOST_KEYS = 1 << 16;
const MOST_HEADS = 1 << 12;
/** PyTorch's for batch normalisation; no configuration has another. */
const EPSILON = 1e-5;

/**
 * Monet (Park et al. 2024): Llama with product-key experts, whose routers sit in each n-th layer and serve those up to
 * the next. `expert_used_count` is how many keys are expected to reach the threshold, not how many do.
 */
export function monet(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const rope = ggufRope(reader, parts.keySize, reader.permutesRope);
  const step = reader.count("product_key.router_layer_step", 4096);
  return parts.model((l) => [
    parts.attention(l, { rope }),
    productKeys(parts, l, l % step === 0 ? routerOf(parts, l) : undefined),
  ]);
}

const keysOf = (reader: FileReader) => reader.count("expert_count", MOST_KEYS);
const headsOf = (reader: FileReader) => reader.count("product_key.head_count", MOST_HEADS);

function productKeys(parts: Parts, l: number, router: ProductKeyRouter | undefined): ProductKeyBlock {
  const { reader, width } = parts;
  const keys = keysOf(reader);
  const decompose = reader.text("product_key.decompose") === "horizontal" ? "horizontal" : "vertical";
  const isVertical = decompose === "vertical";
  const axes = isVertical ? ["_1", "_2"] : [""];
  const units = parts.expertHidden / axes.length;
  const rows = width / axes.length;
  if (!Number.isInteger(units) || !Number.isInteger(rows)) {
    const message = `experts of ${parts.expertHidden} hidden elements and ${width} outputs cannot be halved`;
    throw reader.contradiction(message, { hidden: parts.expertHidden, width });
  }
  const name = (part: string) => `blk.${l}.ffn_${part}`;
  const linear = (part: string, out: number, cols: number): Linear => parts.linear(name(part), out, cols);
  const down = isVertical ? ["_11", "_12", "_21", "_22"] : [""];
  return {
    kind: "product-key",
    norm: parts.norm(name("norm")),
    ...{ heads: headsOf(reader), keys, units, decompose, router },
    activation: reader.text("activation") as Pointwise,
    up: axes.map((axis) => linear(`up${axis}`, keys * units, width)),
    down: down.map((part) => linear(`down${part}`, rows, keys * units)),
    biases: axes.map((axis) => reader.tensor(`${name(`sum${axis}`)}.weight`, [keys, rows])),
  };
}

function routerOf(parts: Parts, l: number): ProductKeyRouter {
  const { reader } = parts;
  const [keys, heads] = [keysOf(reader), headsOf(reader)];
  const expected = reader.count("expert_used_count", keys);
  const vector = (of: string, axis: number): TensorInfo =>
    reader.tensor(`blk.${l}.key_${of}_${axis}.weight`, [heads]);
  const statistics = (axis: number) => ({ mean: vector("mean", axis), variance: vector("variance", axis) });
  return {
    scores: [1, 2].map((axis) => parts.linear(`blk.${l}.key_scores_${axis}`, heads * keys)),
    statistics: [statistics(1), statistics(2)],
    epsilon: EPSILON,
    threshold: normalQuantile(1 - expected / keys),
  };
}
