import type { TokenReader } from "../moe_plan.ts";
import type { AttentionBlock, FeedForwardBlock, NormSpec, RopeSpec } from "../plan.ts";
import { plainFrequencies } from "../rope.ts";
import type { FileReader } from "./reader.ts";

const MOST_BLOCKS = 1 << 10;
const MOST_HEADS = 1 << 10;
/** Of the router's norms, whatever those of the layers have. */
const EPSILON = 1e-6;
const ACTIVATIONS = ["relu", "silu", "gelu", "gelu-erf", "tanh", "sigmoid"] as const;

/** Of a router over tokens, the blocks and the norm behind them: `router.block_count` of them. */
export function routerBlocks(reader: FileReader, size: number): Omit<TokenReader, "table"> {
  const count = reader.upTo("router.block_count", MOST_BLOCKS);
  const linear = (name: string, out: number) => ({
    weight: reader.tensor(`router_${name}.weight`, [out, size]),
    bias: reader.optional(`router_${name}.bias`, [out]),
  });
  const norm = (name: string): NormSpec => {
    return { kind: "rms", weight: reader.tensor(`router_${name}.weight`, [size]), epsilon: EPSILON };
  };
  const told = reader.text("router.activation") ?? "relu";
  const activation = ACTIVATIONS.find((known) => known === told);
  if (!activation) throw reader.unsupported(`router.activation ${told}`, { told });
  const heads = reader.count("router.head_count", MOST_HEADS, 1);
  if (size % (2 * heads) !== 0) {
    const message = `router.head_count is ${heads}, which leaves no pairs of router.embedding_length ${size}`;
    throw reader.contradiction(message, { heads, size });
  }
  const each = size / heads;
  const base = reader.number("rope.freq_base", 10_000, 0, 1);
  const rope: RopeSpec = {
    ...{ rotary: each, interleaved: false, magnitude: 1 },
    frequencies: plainFrequencies(each, base),
  };
  const attends = reader.flag("router.attends", true);
  const attention = (i: number): AttentionBlock => ({
    ...{ kind: "attention", heads, kvHeads: heads, keySize: each, valueSize: each, rope },
    norm: norm(`attn_norm_${i}`),
    q: linear(`q_${i}`, size),
    k: linear(`k_${i}`, size),
    v: linear(`v_${i}`, size),
    output: linear(`output_${i}`, size),
    scale: 1 / reader.factor("router.normalizer"),
  });
  const feedForward = (i: number): FeedForwardBlock => {
    const [up, down] = [linear(`up_${i}`, size), linear(`down_${i}`, size)];
    return {
      kind: "feed-forward",
      norm: norm(`ffn_norm_${i}`),
      base: { expert: { kind: "two-matrix", activation, up, down } },
    };
  };
  const blocks = Array.from({ length: count }, (_, i) => [
    ...(attends ? [attention(i)] : []),
    feedForward(i),
  ]);
  return { blocks: blocks.flat(), norm: count > 0 ? norm("norm") : undefined };
}
