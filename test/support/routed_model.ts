/** Small random models whose routes come from elsewhere than their own layer, and what they compute in float64. */
import type { RouteRequest } from "../../src/api.ts";
import {
  attention,
  combine,
  embed,
  expertDown,
  expertGateUp,
  type Matrix,
  matmul,
  type Route,
  rmsnorm,
  rope,
  ropeTable,
  route,
} from "../reference/index.ts";
import { type MomentumOptions, momentum } from "../reference/momentum.ts";
import { normalBelow } from "../reference/normal.ts";
import { drawn, namedWeights, siteSeed, withTail } from "../reference/request.ts";
import { type TreeOptions, treeGate } from "../reference/tree_gate.ts";
import { type MetadataEntry, type TensorEntry, writeGguf } from "./gguf_writer.ts";
import { normals, seeded } from "./random.ts";

const [WIDTH, HEADS, KV_HEADS, VOCABULARY] = [64, 2, 1, 96];
const [EXPERTS, HIDDEN] = [8, 32];
const HEAD = WIDTH / HEADS;
const EPSILON = 1e-6;

export const SITES = 3;

export interface RoutedOptions {
  /** Absent: what the experts read. */
  readonly input?: "previous-layer" | "token" | "task" | "given" | "draw" | "tree";
  /** Experts of a token; of `given` the most a request may name. */
  readonly k?: number;
  readonly tasks?: number;
  /** Elements of a token's or a task's embedding of the router's own. */
  readonly size?: number;
  readonly draws?: "token" | "sequence";
  /** Of `tree`. */
  readonly trees?: Pick<TreeOptions, "trees" | "gamma"> & { readonly isPermuted?: boolean };
  readonly momentum?: MomentumOptions & { readonly isPostNorm?: boolean };
  /** Of routers that read what the experts read. */
  readonly rule?: RuleOptions;
}

export interface RuleOptions {
  readonly gate?: "sigmoid" | "sqrt-softplus" | "relu";
  readonly name?: "top-p" | "threshold" | "all" | "expert-choice" | "whole-sequence";
  readonly p?: number;
  readonly threshold?: number;
  readonly anyK?: boolean;
  readonly weights?: "renormalise" | "raw" | "one" | "one-over-share";
  readonly temperature?: number;
  /** Between the matrix and its bias. */
  readonly function?: "sigmoid" | "tanh" | "gelu-erf";
  readonly bias?: boolean;
}

type Tensors = ReadonlyMap<string, { readonly shape: readonly number[]; readonly values: Float32Array }>;

function tensorsOf({ input, tasks = 1, size = 0, trees, rule }: RoutedOptions): Tensors {
  const random = seeded(77);
  const tensors = new Map<string, { shape: readonly number[]; values: Float32Array }>();
  const add = (name: string, scale: number, shape: readonly number[], mean = 0) => {
    const count = shape.reduce((all, n) => all * n, 1);
    tensors.set(`${name}.weight`, { shape, values: normals(random, count, scale).map((v) => mean + v) });
  };
  add("token_embd", 0.5, [VOCABULARY, WIDTH]);
  if (input === "token") {
    if (size > 0) add("router_embd", 0.5, [VOCABULARY, size]);
    add("router_gate", 0.5, [EXPERTS, size || WIDTH]);
  }
  if (input === "task" && size > 0) add("task_embd", 1, [tasks, size]);
  const rows = input === "task" && size === 0 ? tasks * EXPERTS : EXPERTS;
  for (let l = 0; l < SITES; l++) {
    for (const norm of ["attn_norm", "ffn_norm"]) add(`blk.${l}.${norm}`, 0.1, [WIDTH], 1);
    for (const norm of ["attn_q_norm", "attn_k_norm"]) add(`blk.${l}.${norm}`, 0.1, [HEAD], 1);
    for (const [part, out] of [
      ["q", WIDTH],
      ["k", KV_HEADS * HEAD],
      ["v", KV_HEADS * HEAD],
      ["output", WIDTH],
    ] as const) {
      add(`blk.${l}.attn_${part}`, 0.1, [out, WIDTH]);
    }
    if (input === undefined || input === "previous-layer" || input === "task") {
      add(`blk.${l}.ffn_gate_inp`, 0.4, [rows, WIDTH + (input === "task" ? size : 0)]);
    }
    if (trees) {
      const router = `blk.${l}.ffn_gate_inp`;
      // Nodes apart enough that some are decided and others not.
      add(`${router}_nodes`, trees.gamma / 6, [trees.trees * (EXPERTS - 1), WIDTH]);
      add(`${router}_leaves`, 0.3, [trees.trees * EXPERTS, WIDTH]);
      if (trees.isPermuted) {
        tensors.set(`${router}_order.weight`, {
          shape: [trees.trees, EXPERTS, EXPERTS],
          values: rotations(trees.trees, l),
        });
      }
    }
    add(`blk.${l}.ffn_gate_exps`, 0.15, [EXPERTS, HIDDEN, WIDTH]);
    add(`blk.${l}.ffn_up_exps`, 0.15, [EXPERTS, HIDDEN, WIDTH]);
    add(`blk.${l}.ffn_down_exps`, 0.15, [EXPERTS, WIDTH, HIDDEN]);
  }
  add("output_norm", 0.1, [WIDTH], 1);
  add("output", 0.1, [VOCABULARY, WIDTH]);
  if (!rule?.bias) return tensors;
  for (let l = 0; l < SITES; l++) {
    tensors.set(`blk.${l}.ffn_gate_inp.bias`, { shape: [EXPERTS], values: normals(random, EXPERTS, 0.5) });
  }
  return tensors;
}

/** For each tree a matrix that moves leaf j to another expert. */
function rotations(trees: number, by: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: trees * EXPERTS * EXPERTS }, (_, i) => {
    const [tree, leaf, expert] = [
      Math.floor(i / EXPERTS ** 2),
      Math.floor(i / EXPERTS) % EXPERTS,
      i % EXPERTS,
    ];
    return Number(expert === (leaf + tree + by) % EXPERTS);
  });
}

/** The model as a GGUF file. */
export function routedModel(options: RoutedOptions): File {
  const { input, k = 2, tasks, size, draws, trees, momentum: moving, rule } = options;
  const metadata: MetadataEntry[] = [{ key: "general.architecture", type: "string", value: "qwen3moe" }];
  const set = (key: string, type: MetadataEntry["type"], value: unknown, of?: MetadataEntry["type"]) => {
    if (value !== undefined) {
      metadata.push({ key: `qwen3moe.${key}`, type, value, ...(of ? { of } : {}) });
    }
  };
  for (const [key, value] of Object.entries({
    ...{ block_count: SITES, context_length: 600, embedding_length: WIDTH, feed_forward_length: HIDDEN },
    ...{ "attention.head_count": HEADS, "attention.head_count_kv": KV_HEADS, "attention.key_length": HEAD },
    ...{ "attention.value_length": HEAD, expert_count: EXPERTS, expert_used_count: k },
    ...{ "router.task_count": tasks, "router.embedding_length": size || undefined },
    ...{ "router.tree_count": trees?.trees },
  })) {
    set(key, "uint32", value);
  }
  set("rope.freq_base", "float32", 10_000);
  set("attention.layer_norm_rms_epsilon", "float32", EPSILON);
  set("router.input", "string", input);
  set("router.draws", "string", draws);
  set("router.tree_step", "float32", trees?.gamma);
  set("router.gate", "string", rule?.gate);
  set("router.rule", "string", rule?.name);
  set("router.top_p", "float32", rule?.p);
  set("router.threshold", "float32", rule?.threshold);
  set("router.any_k", "bool", rule?.anyK);
  set("router.weights", "string", rule?.weights);
  set("router.temperature", "float32", rule?.temperature);
  set("router.function", "string", rule?.function);
  if (moving) {
    set("momentum.factor", "float32", moving.factor);
    set("momentum.step", "float32", moving.step);
    set("momentum.post_norm", "bool", moving.isPostNorm ?? false);
    const { adam } = moving;
    if (adam) set("momentum.adam", "array", [adam.mean, adam.square, adam.step], "float32");
  }
  const tensors = [...tensorsOf(options)].map(([name, { shape, values }]): TensorEntry => {
    return { name, dims: [...shape].reverse(), typeId: 0, data: new Uint8Array(values.buffer) };
  });
  return new File([writeGguf({ metadata, tensors })], "routed.gguf");
}

/** Logits of every position, [tokens, vocabulary]. A rule's numbers are those of `options`. */
export function routedLogits(
  options: RoutedOptions,
  tokens: readonly number[],
  request: RouteRequest = {},
): Float64Array {
  const all = tensorsOf(options);
  const values = (name: string) => vector(all, `${name}.weight`);
  const linear = (name: string) => matrix(all, `${name}.weight`);
  const positions = tokens.map((_, i) => i);
  const turned = { ...ropeTable({ base: 10_000, dims: HEAD }), positions, variant: "neox" } as const;
  const { isPostNorm = false } = options.momentum ?? {};
  let x = embed(values("token_embd"), WIDTH, tokens);
  let velocity: Float64Array = new Float64Array(x.length);
  let before: Float64Array | undefined;
  for (let l = 0; l < SITES; l++) {
    const a = rmsnorm(x, values(`blk.${l}.attn_norm`), EPSILON);
    const head = (part: string) =>
      rmsnorm(matmul(a, linear(`blk.${l}.attn_${part}`)), values(`blk.${l}.attn_${part}_norm`), EPSILON);
    const q = rope(head("q"), { ...turned, heads: HEADS });
    const k = rope(head("k"), { ...turned, heads: KV_HEADS });
    const shape = { heads: HEADS, kvHeads: KV_HEADS, positions, scale: 1 / Math.sqrt(HEAD) };
    const v = matmul(a, linear(`blk.${l}.attn_v`));
    x = matmul(attention(q, k, v, shape), linear(`blk.${l}.attn_output`), x);

    const f = isPostNorm ? x : rmsnorm(x, values(`blk.${l}.ffn_norm`), EPSILON);
    const chosen = routeOf(all, options, request, l, tokens, { own: f, before: before ?? f });
    before = f;
    const each = (part: string) => ({ values: values(`blk.${l}.ffn_${part}_exps`), ...expertShape(part) });
    const experts = chosen.experts.map((expert) => Math.max(expert, 0));
    const hidden = expertGateUp(f, each("gate"), each("up"), experts);
    const given = combine(expertDown(hidden, each("down"), experts), chosen.weights, chosen.topK);
    if (!options.momentum) {
      x = x.map((value, i) => value + (given[i] as number));
      continue;
    }
    const { adam, ...rule } = options.momentum;
    const next = momentum(given, velocity, x, { ...rule, adam: l === 0 ? adam : undefined });
    velocity = next.velocity;
    x = isPostNorm ? rmsnorm(next.moved, values(`blk.${l}.ffn_norm`), EPSILON) : next.moved;
  }
  return matmul(rmsnorm(x, values("output_norm"), EPSILON), linear("output"));
}

/** The experts of every token at a site. */
function routeOf(
  all: Tensors,
  { input, k = 2, size = 0, draws, trees, rule }: RoutedOptions,
  { task = 0, experts: named = [], routeSeed = 0 }: RouteRequest,
  site: number,
  tokens: readonly number[],
  { own, before }: { readonly own: Float64Array; readonly before: Float64Array },
): Route {
  const gate = () => matrix(all, `blk.${site}.ffn_gate_inp.weight`);
  const best = (logits: Float64Array) => route(logits, { experts: EXPERTS, topK: k, weightRule: "renorm" });
  switch (input) {
    case "previous-layer":
      return best(matmul(before, gate()));
    case "token": {
      const table = vector(all, size > 0 ? "router_embd.weight" : "token_embd.weight");
      return best(matmul(embed(table, size || WIDTH, tokens), matrix(all, "router_gate.weight")));
    }
    case "task": {
      if (size > 0) {
        const embedding = vector(all, "task_embd.weight").slice(task * size, (task + 1) * size);
        return best(matmul(withTail(own, WIDTH, embedding), gate()));
      }
      const { values } = gate();
      const each = EXPERTS * WIDTH;
      const mine = Float64Array.from(values).slice(task * each, (task + 1) * each);
      return best(matmul(own, { values: mine, rows: EXPERTS, cols: WIDTH }));
    }
    case "given": {
      const ids = (Array.isArray(named[0]) ? named[site] : named) as readonly number[];
      return listed(
        tokens.map(() => ids),
        k,
      );
    }
    case "tree": {
      if (!trees) throw new Error("no trees");
      const product = (part: string) => matmul(own, matrix(all, `blk.${site}.ffn_gate_inp_${part}.weight`));
      const permutations = trees.isPermuted
        ? vector(all, `blk.${site}.ffn_gate_inp_order.weight`)
        : undefined;
      const weights = treeGate(product("nodes"), product("leaves"), {
        ...trees,
        experts: EXPERTS,
        permutations,
      });
      return route(weights, {
        ...{ experts: EXPERTS, topK: EXPERTS, threshold: Number.MIN_VALUE, gate: "relu", weightRule: "raw" },
      });
    }
    case "draw": {
      const seed = siteSeed(routeSeed, site);
      return listed(
        tokens.map((_, t) => [drawn(seed, draws === "sequence" ? 0 : t, EXPERTS)]),
        1,
      );
    }
    default:
      return rule
        ? ruled(matmul(own, gate()), rule, k, all.get(`blk.${site}.ffn_gate_inp.bias`)?.values)
        : best(matmul(own, gate()));
  }
}

const FUNCTIONS = {
  sigmoid: (l: number) => 1 / (1 + Math.exp(-l)),
  tanh: Math.tanh,
  "gelu-erf": (l: number) => l * normalBelow(l),
};

function ruled(logits: Float64Array, rule: RuleOptions, k: number, bias?: Float32Array): Route {
  const { gate, name, weights = "renormalise", temperature, p, anyK } = rule;
  const { threshold = name === "threshold" ? Number.MIN_VALUE : undefined } = rule;
  const isFixed = name === undefined && !anyK;
  return route(logits, {
    ...{ experts: EXPERTS, topK: isFixed ? k : EXPERTS, k: name === undefined ? k : EXPERTS },
    ...{ weightRule: weights === "renormalise" ? "renorm" : weights, temperature, p, threshold, gate },
    shape: { function: rule.function ? FUNCTIONS[rule.function] : (l) => l, bias },
  });
}

function listed(ids: readonly (readonly number[])[], topK: number): Route {
  const padded = (row: readonly number[], fill: number) =>
    Array.from({ length: topK }, (_, i) => row[i] ?? fill);
  return {
    topK,
    experts: Int32Array.from(ids.flatMap((row) => padded(row, -1))),
    weights: Float64Array.from(ids.flatMap((row) => padded(namedWeights(row, true), 0))),
    counts: Int32Array.from(ids, (row) => row.length),
  };
}

const expertShape = (part: string) =>
  part === "down" ? { rows: WIDTH, cols: HIDDEN } : { rows: HIDDEN, cols: WIDTH };

function vector(all: Tensors, name: string): Float32Array {
  const found = all.get(name);
  if (!found) throw new Error(`no tensor ${name}`);
  return found.values;
}

function matrix(all: Tensors, name: string): Matrix {
  const values = vector(all, name);
  const cols = all.get(name)?.shape.at(-1) ?? 1;
  return { values, rows: values.length / cols, cols };
}
