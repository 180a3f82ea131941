import type {
  AttentionBlock,
  Block,
  ExpertLinear,
  ExpertSpec,
  FeedForwardBlock,
  Linear,
  ModelPlan,
  MoeSpec,
  NormSpec,
  RopeSpec,
  RouterSpec,
} from "../plan.ts";
import type { FileReader } from "./reader.ts";

const MOST_WIDTH = 1 << 20;

interface AttentionOptions {
  readonly rope: RopeSpec | undefined;
  /** Norms of q and k: of each head, or of all heads as one vector. */
  readonly norms?: "head" | "whole";
  /** Else 1 / √keySize. */
  readonly scale?: number | undefined;
}

/** What GGUF decoders are made of: the sizes and tensors that nearly all of them have, under the names of llama.cpp. */
export class Parts {
  readonly reader: FileReader;
  readonly width: number;
  readonly keySize: number;
  readonly #heads: number;
  readonly #kvHeads: number;
  readonly #valueSize: number;
  readonly #epsilon: number;
  readonly #hasScales: boolean;

  /** @param hasScales llama.cpp multiplies feed-forward matrices by the scales beside them, which not all families do */
  constructor(reader: FileReader, hasScales = false) {
    this.reader = reader;
    this.#hasScales = hasScales;
    this.width = reader.count("embedding_length", MOST_WIDTH);
    this.#heads = reader.count("attention.head_count", 1 << 12);
    this.#kvHeads = reader.count("attention.head_count_kv", this.#heads, this.#heads);
    this.keySize = reader.count("attention.key_length", 1 << 12, this.width / this.#heads);
    this.#valueSize = reader.count("attention.value_length", 1 << 12, this.keySize);
    this.#epsilon = reader.number("attention.layer_norm_rms_epsilon");
  }

  norm(name: string, length = this.width): NormSpec {
    return { kind: "rms", weight: this.reader.tensor(`${name}.weight`, [length]), epsilon: this.#epsilon };
  }

  linear(name: string, out: number, input = this.width): Linear {
    return {
      weight: this.reader.tensor(`${name}.weight`, [out, input]),
      bias: this.reader.optional(`${name}.bias`, [out]),
      scale: this.reader.optional(`${name}.scale`, [1]),
    };
  }

  /** Rows of each matrix of an expert: its own key, or that of dense layers. */
  get expertHidden(): number {
    return this.reader.setCount("expert_feed_forward_length", MOST_WIDTH) ?? this.denseHidden;
  }

  get denseHidden(): number {
    return this.reader.count("feed_forward_length", MOST_WIDTH);
  }

  attention(l: number, { rope, norms, scale }: AttentionOptions): AttentionBlock {
    const { keySize } = this;
    const [heads, kvHeads, valueSize] = [this.#heads, this.#kvHeads, this.#valueSize];
    const name = (part: string) => `blk.${l}.attn_${part}`;
    const headNorm = (part: string, count: number) =>
      norms && this.norm(name(part), norms === "whole" ? count * keySize : keySize);
    return {
      kind: "attention",
      norm: this.norm(name("norm")),
      ...{ heads, kvHeads, keySize, valueSize },
      q: this.linear(name("q"), heads * keySize),
      k: this.linear(name("k"), kvHeads * keySize),
      v: this.linear(name("v"), kvHeads * valueSize),
      output: this.linear(name("output"), this.width, heads * valueSize),
      qNorm: headNorm("q_norm", heads),
      kNorm: headNorm("k_norm", kvHeads),
      rope,
      scale: scale ?? 1 / Math.sqrt(keySize),
    };
  }

  /** A layer without experts, suffix "", or shared experts, "_shexp". llama.cpp scales their biases, and no others. */
  #mlp(l: number, suffix: string, hidden: number): ExpertSpec {
    const linear = (part: string, out: number, input: number) => {
      const all = this.linear(`blk.${l}.ffn_${part}${suffix}`, out, input);
      return this.#hasScales ? { ...all, scalesBias: true } : { ...all, scale: undefined };
    };
    return gated(linear, hidden, this.width);
  }

  shared(l: number, hidden: number): ExpertSpec {
    return this.#mlp(l, "_shexp", hidden);
  }

  dense(l: number): FeedForwardBlock {
    const base = { expert: this.#mlp(l, "", this.denseHidden) };
    return { kind: "feed-forward", norm: this.norm(`blk.${l}.ffn_norm`), base };
  }

  /** Softmax over all experts, the top k of them. */
  experts(l: number, rule: RouterSpec["weights"]["rule"]): FeedForwardBlock & { readonly moe: MoeSpec } {
    const { reader, width } = this;
    const experts = reader.count("expert_count", 1 << 16);
    const k = reader.count("expert_used_count", experts);
    const linear = (part: string, out: number, input: number): ExpertLinear => ({
      weight: reader.tensor(`blk.${l}.ffn_${part}_exps.weight`, [experts, out, input]),
      scale: this.#hasScales ? reader.optional(`blk.${l}.ffn_${part}_exps.scale`, [experts]) : undefined,
    });
    return {
      kind: "feed-forward",
      norm: this.norm(`blk.${l}.ffn_norm`),
      moe: {
        experts,
        router: {
          input: "block",
          logits: {
            layers: [this.linear(`blk.${l}.ffn_gate_inp`, experts)],
            gate: "softmax",
            selectionBias: reader.optional(`blk.${l}.exp_probs_b.bias`, [experts]),
          },
          selection: { rule: "top-k", k },
          weights: { rule, scale: reader.factor("expert_weights_scale") },
        },
        table: [{ first: 0, count: experts, spec: gated(linear, this.expertHidden, width) }],
      },
    };
  }

  /** The model of these layers. */
  model(layer: (l: number) => readonly Block[], changes: Partial<ModelPlan> = {}): ModelPlan {
    const { reader, width } = this;
    const vocabulary = reader.rows("token_embd.weight");
    const embedding = { weight: reader.tensor("token_embd.weight", [vocabulary, width]) };
    const blocks = Array.from({ length: reader.count("block_count", 4096) }, (_, l) => layer(l));
    return {
      architecture: reader.architecture,
      name: String(reader.file.metadata["general.name"] ?? reader.file.name),
      vocabulary,
      width,
      contextTokens: reader.count("context_length", 2 ** 31),
      embedding,
      embeddingScale: 1,
      residualScale: 1,
      layers: blocks.map((all) => ({ blocks: all })),
      finalNorm: this.norm("output_norm"),
      output: reader.has("output.weight") ? this.linear("output", vocabulary) : embedding,
      outputScale: 1,
      ...changes,
    };
  }
}

function gated<T extends Linear>(
  linear: (part: string, out: number, input: number) => T,
  hidden: number,
  width: number,
): ExpertSpec {
  return {
    kind: "gated",
    activation: "silu",
    gate: linear("gate", hidden, width),
    up: linear("up", hidden, width),
    down: linear("down", width, hidden),
  };
}
