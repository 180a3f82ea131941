import type { Activation } from "../../kernels/activation.ts";
import type { Gate } from "../../kernels/route.ts";
import type { ExpertLinear, ExpertSpec, MoeSpec, RouterSpec } from "../moe_plan.ts";
import type {
  AttentionBlock,
  Block,
  FeedForwardBlock,
  HeadNorm,
  Linear,
  ModelPlan,
  NormSpec,
} from "../plan.ts";
import type { FileReader } from "./reader.ts";
import { momentumOf, routeSource } from "./route_source.ts";
import { withRule } from "./router_rule.ts";
import { rowsOf, stackRowsOf } from "./views.ts";

const MOST_WIDTH = 1 << 20;
const MOST_HEADS = 1 << 12;
const MOST_HEAD_SIZE = 1 << 12;

interface PartsOptions {
  /** Feed-forward matrices are multiplied by the scales beside them, which not all families do in llama.cpp. */
  readonly scales?: boolean;
  /** Default "rms". */
  readonly norms?: NormSpec["kind"];
}

/** Of an attention block, what is not read from the file's tensors alone. */
type AttentionOptions = Pick<
  AttentionBlock,
  "rope" | "gate" | "clamp" | "normsAfterRope" | "temperature" | "softcap" | "window" | "sinks" | "postNorm"
> & {
  /** Norms of q and k: of each head, of all heads as one vector, or of each head without weights. */
  readonly norms?: "head" | "whole" | "plain" | undefined;
  /** Else 1 / √keySize. */
  readonly scale?: number | undefined;
  /** Rows of q for each head: keySize unless told. */
  readonly queryRows?: number | undefined;
};

interface ExpertOptions {
  readonly rule: RouterSpec["weights"]["rule"];
  /** If the file does not say; softmax. */
  readonly gate?: Gate | undefined;
  readonly activation?: Activation | undefined;
  readonly input?: RouterSpec["input"] | undefined;
  /** Weights multiply an expert's input. */
  readonly weightsFirst?: boolean | undefined;
  /** Name of the norm before it; "ffn_norm". */
  readonly norm?: string | undefined;
  /** Where the logits are not one matrix times the input. */
  readonly logits?: Omit<RouterSpec["logits"], "gate" | "selectionBias"> | undefined;
  /** Rows of each matrix of an expert, where llama.cpp does not read them from `expertHidden`. */
  readonly hidden?: number | undefined;
  /** Else the top k of the file. */
  readonly selection?: RouterSpec["selection"] | undefined;
}

/** What comes before the first layer and behind the last. */
type Ends = Pick<ModelPlan, "vocabulary" | "embedding" | "output">;

/** llama.cpp's `expert_gating_func`. Softmax over the chosen alone is softmax over all, renormalised. */
const GATES: Readonly<Record<number, { readonly gate: Gate; readonly rule?: "renormalise" }>> = {
  1: { gate: "softmax" },
  2: { gate: "sigmoid" },
  3: { gate: "softmax", rule: "renormalise" },
  4: { gate: "sqrt-softplus" },
};

/** Its scores are weights. */
const TREE = { gate: "tree", rule: "raw" } as const;

/** What GGUF decoders are made of: the sizes and tensors that nearly all of them have, under the names of llama.cpp. */
export class Parts {
  readonly reader: FileReader;
  readonly width: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly #norms: NormSpec["kind"];
  readonly #epsilon: number;
  readonly #hasScales: boolean;

  constructor(reader: FileReader, { scales = false, norms = "rms" }: PartsOptions = {}) {
    this.reader = reader;
    this.#hasScales = scales;
    this.#norms = norms;
    const width = reader.count("embedding_length", MOST_WIDTH);
    const heads = reader.count("attention.head_count", MOST_HEADS);
    if (!reader.hasKey("attention.key_length") && width % heads !== 0) {
      const message = `attention.head_count is ${heads}, which does not divide embedding_length ${width}`;
      throw reader.contradiction(message, { heads, width });
    }
    this.width = width;
    this.keySize = reader.count("attention.key_length", MOST_HEAD_SIZE, width / heads);
    this.valueSize = reader.count("attention.value_length", MOST_HEAD_SIZE, this.keySize);
    this.#epsilon = reader.number(
      norms === "rms" ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon",
    );
  }

  norm(name: string, length = this.width): NormSpec {
    return {
      kind: this.#norms,
      weight: this.reader.tensor(`${name}.weight`, [length]),
      bias: this.reader.optional(`${name}.bias`, [length]),
      epsilon: this.#epsilon,
    };
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

  /** Rows of the shared experts together, which have the width of the others. */
  get sharedHidden(): number {
    return this.expertHidden * this.reader.count("expert_shared_count", 1 << 12);
  }

  get #blockCount(): number {
    return this.reader.count("block_count", 4096);
  }

  /** Layers before the first with experts. */
  get denseLayers(): number {
    return this.reader.upTo("leading_dense_block_count", this.#blockCount);
  }

  attention(l: number, options: AttentionOptions): AttentionBlock {
    const { reader, keySize, valueSize } = this;
    const { norms, scale, queryRows = keySize, postNorm, ...others } = options;
    const heads = reader.count("attention.head_count", MOST_HEADS, undefined, l);
    const kvHeads = reader.count("attention.head_count_kv", heads, heads, l);
    const name = (part: string) => `blk.${l}.attn_${part}`;
    const headNorm = (part: string, count: number): HeadNorm | undefined =>
      norms === "plain"
        ? { epsilon: this.#epsilon }
        : norms && this.norm(name(part), norms === "whole" ? count * keySize : keySize);
    return {
      kind: "attention",
      norm: this.norm(name("norm")),
      postNorm,
      ...{ heads, kvHeads, keySize, valueSize },
      ...this.#qkv(name, heads * queryRows, kvHeads * keySize, kvHeads * valueSize),
      output: this.linear(name("output"), this.width, heads * valueSize),
      qNorm: headNorm("q_norm", heads),
      kNorm: headNorm("k_norm", kvHeads),
      scale: scale ?? 1 / Math.sqrt(keySize),
      ...others,
    };
  }

  /** Three matrices, or one that holds them. */
  #qkv(name: (part: string) => string, q: number, k: number, v: number) {
    if (!this.reader.has(`${name("qkv")}.weight`)) {
      return { q: this.linear(name("q"), q), k: this.linear(name("k"), k), v: this.linear(name("v"), v) };
    }
    const all = this.linear(name("qkv"), q + k + v);
    return { q: rowsOf(all, 0, q), k: rowsOf(all, q, k), v: rowsOf(all, q + k, v) };
  }

  /** A layer without experts, suffix "", or shared experts, "_shexp". llama.cpp scales their biases, and no others. */
  #mlp(l: number, suffix: string, hidden: number, activation?: Activation): ExpertSpec {
    const linear = (part: string, out: number, input: number) => {
      const all = this.linear(`blk.${l}.ffn_${part}${suffix}`, out, input);
      return this.#hasScales ? { ...all, scalesBias: true } : { ...all, scale: undefined };
    };
    return gated(linear, hidden, this.width, activation);
  }

  shared(l: number, hidden: number, activation?: Activation): ExpertSpec {
    return this.#mlp(l, "_shexp", hidden, activation);
  }

  dense(
    l: number,
    { activation, norm = "ffn_norm" }: Pick<ExpertOptions, "activation" | "norm"> = {},
  ): FeedForwardBlock {
    const base = { expert: this.#mlp(l, "", this.denseHidden, activation) };
    return { kind: "feed-forward", norm: this.norm(`blk.${l}.${norm}`), base };
  }

  /** The top k of all experts, or of those in the best groups, unless told. */
  experts(l: number, options: ExpertOptions): FeedForwardBlock & { readonly moe: MoeSpec } {
    const { reader, width } = this;
    const {
      activation,
      input = "block",
      weightsFirst,
      norm = "ffn_norm",
      hidden = this.expertHidden,
    } = options;
    const experts = reader.count("expert_count", 1 << 16);
    const told = reader.upTo("expert_gating_func", 255);
    const gating = told === 0 ? { gate: options.gate ?? ("softmax" as const) } : GATES[told];
    if (!gating) throw reader.unsupported(`routing by expert_gating_func ${told}`, { told });
    const isFirst = l === this.denseLayers;
    const isTold = reader.hasKeys("router.");
    const name = `blk.${l}.ffn_gate_inp`;
    const source = isTold ? routeSource(reader, { width, experts, name, isFirst }) : undefined;
    const isDecided = source?.layers.length === 0;
    // What a request names or draws has one score, and nothing else has any.
    const { gate, rule = options.rule } = isDecided
      ? { gate: "sigmoid" as const }
      : source?.tree
        ? TREE
        : gating;
    const linear = (part: string, out: number, cols: number): ExpertLinear => ({
      ...this.#expertMatrix(l, part, experts, out, cols),
      bias: reader.optional(`blk.${l}.ffn_${part}_exps.bias`, [experts, out]),
      scale: this.#hasScales ? reader.optional(`blk.${l}.ffn_${part}_exps.scale`, [experts]) : undefined,
    });
    const router: RouterSpec = {
      input: source?.input ?? input,
      reader: source?.reader,
      tasks: source?.tasks,
      draws: source?.draws,
      logits: {
        ...((source && { layers: source.layers, tree: source.tree }) ??
          options.logits ?? { layers: [{ ...this.linear(name, experts), scale: undefined }] }),
        gate,
        selectionBias: isDecided ? undefined : reader.optional(`blk.${l}.exp_probs_b.bias`, [experts]),
      },
      selection: source?.selection ?? options.selection ?? this.#selection(experts),
      weights: { rule, scale: reader.factor("expert_weights_scale"), first: weightsFirst },
    };
    return {
      kind: "feed-forward",
      norm: this.norm(`blk.${l}.${norm}`),
      momentum: reader.hasKeys("momentum.") ? momentumOf(reader, isFirst) : undefined,
      moe: {
        experts,
        router: isTold ? withRule(reader, router, experts) : router,
        table: [{ first: 0, count: experts, spec: gated(linear, hidden, width, activation) }],
      },
    };
  }

  /**
   * Whether layer `l` has the window: as the file lists layers, else all but one in `period`, which is the last of them
   * or the first.
   */
  isWindowed(l: number, period: number, exception: "last" | "first" = "last"): boolean {
    const key = "attention.sliding_window_pattern";
    const listed = this.reader.listedFlag(key, l);
    if (listed !== undefined) return listed;
    const step = this.reader.upTo(key, 4096, period);
    return step === 0 || l % step !== (exception === "last" ? step - 1 : 0);
  }

  /** Dense in the first layers; in the others experts beside shared ones, which have `shared` rows. */
  denseThenExperts(
    l: number,
    { shared = this.sharedHidden, ...options }: ExpertOptions & { readonly shared?: number },
  ): FeedForwardBlock {
    if (l < this.denseLayers) return this.dense(l, options);
    return { ...this.experts(l, options), base: { expert: this.shared(l, shared) } };
  }

  /** The rule of `expert_weights_norm`, which is off unless set. */
  get weightRule(): "renormalise" | "raw" {
    return this.reader.flag("expert_weights_norm", false) ? "renormalise" : "raw";
  }

  #selection(experts: number): RouterSpec["selection"] {
    const { reader } = this;
    const k = reader.count("expert_used_count", experts);
    const groups = reader.setCount("expert_group_count", experts) ?? 1;
    if (groups === 1) return { rule: "top-k", k };
    const groupsUsed = reader.count("expert_group_used_count", groups);
    const each = experts / groups;
    if (!Number.isInteger(each)) {
      throw reader.contradiction(`expert_count ${experts} is not divided by expert_group_count ${groups}`, {
        experts,
        groups,
      });
    }
    if (each * groupsUsed < k) {
      const most = each * groupsUsed;
      throw reader.contradiction(
        `expert_used_count ${k} is above ${most}, the experts of ${groupsUsed} groups`,
        { k, most },
      );
    }
    return { rule: "group-limited", k, groups, groupsUsed, by: "best-two" };
  }

  /** A tensor of its own, or half of the one that holds gate and up: the first and the last rows of each expert. */
  #expertMatrix(l: number, part: string, experts: number, out: number, cols: number) {
    const fused = `blk.${l}.ffn_gate_up_exps.weight`;
    if (part === "down" || !this.reader.has(fused)) {
      return { weight: this.reader.tensor(`blk.${l}.ffn_${part}_exps.weight`, [experts, out, cols]) };
    }
    const both = this.reader.tensor(fused, [experts, 2 * out, cols]);
    return { weight: stackRowsOf(both, part === "gate" ? 0 : out, out) };
  }

  /** Ids in, logits out. */
  #tokens(): Ends {
    const { reader, width } = this;
    const vocabulary = reader.rows("token_embd.weight");
    const embedding = { weight: reader.tensor("token_embd.weight", [vocabulary, width]) };
    const output = reader.has("output.weight") ? this.linear("output", vocabulary) : embedding;
    return { vocabulary, embedding, output };
  }

  /** The model of these layers, between ends that are those of a language model unless told. */
  model(
    layer: (l: number) => readonly Block[],
    { ends = this.#tokens(), ...changes }: Partial<ModelPlan> & { readonly ends?: Ends } = {},
  ): ModelPlan {
    const { reader, width } = this;
    // Blocks behind the last predict tokens further ahead, which nothing here asks for.
    const all = this.#blockCount;
    const layers = all - reader.upTo("nextn_predict_layers", all - 1);
    const blocks = Array.from({ length: layers }, (_, l) => layer(l));
    return {
      architecture: reader.architecture,
      name: String(reader.file.metadata["general.name"] ?? reader.file.name),
      width,
      contextTokens: reader.count("context_length", 2 ** 31),
      ...ends,
      embeddingScale: 1,
      residualScale: 1,
      layers: blocks.map((all) => ({ blocks: all })),
      finalNorm: changes.finalNorm ?? this.norm("output_norm"),
      outputScale: 1,
      ...changes,
    };
  }
}

function gated<T extends Linear>(
  linear: (part: string, out: number, input: number) => T,
  hidden: number,
  width: number,
  activation: Activation = "silu",
): ExpertSpec {
  return {
    kind: "gated",
    activation,
    gate: linear("gate", hidden, width),
    up: linear("up", hidden, width),
    down: linear("down", width, hidden),
  };
}
