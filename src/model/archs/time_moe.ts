import type { Pointwise } from "../../kernels/activation.ts";
import type { HorizonHead, ModelPlan } from "../plan.ts";
import { ggufRope } from "./gguf_rope.ts";
import { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";

const MOST_SIZE = 1 << 12;
const MOST_HEADS = 1 << 10;
const MOST_STEPS = 1 << 16;

/**
 * Time-MoE (Shi et al. 2024): a series in, one position a point, and behind each position heads that say the next points,
 * one for each length. Between them a decoder with biases on q, k, v, softmax top-k as it is, and a shared expert behind a
 * gate of its own; or plain layers. There is no GGUF form of it; the keys of `forecast` are this repository's.
 */
export function timeMoe(reader: FileReader): ModelPlan {
  const parts = new Parts(reader);
  const { width, denseLayers } = parts;
  const rope = ggufRope(reader, parts.keySize, false);
  const hidden = reader.count("expert_shared_feed_forward_length", 1 << 20);
  // One of those that the configuration was read to.
  const activation = reader.text("activation") as Pointwise;
  const size = reader.count("forecast.input_size", MOST_SIZE);
  const heads = Array.from(
    { length: reader.count("forecast.head_count", MOST_HEADS) },
    (_, i): HorizonHead => {
      const steps = reader.count("forecast.horizon_lengths", MOST_STEPS, undefined, i);
      return { steps, linear: parts.linear(`horizon_${i}`, steps * size) };
    },
  );
  const ends = {
    vocabulary: heads.reduce((rows, { steps }) => rows + steps * size, 0),
    embedding: {
      kind: "series",
      size,
      activation,
      gate: reader.tensor("series_gate.weight", [width, size]),
      value: reader.tensor("series_value.weight", [width, size]),
    },
    output: heads,
  } as const;
  const feedForward = (l: number) => {
    if (l < denseLayers) return parts.dense(l, { activation });
    const base = {
      expert: parts.shared(l, hidden, activation),
      gate: parts.linear(`blk.${l}.ffn_gate_inp_shexp`, 1),
    };
    return { ...parts.experts(l, { rule: "raw", activation }), base };
  };
  return parts.model((l) => [parts.attention(l, { rope }), feedForward(l)], { ends });
}
