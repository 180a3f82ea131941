import type { RouterSpec, TreeSpec } from "../moe_plan.ts";
import type { Linear, Momentum } from "../plan.ts";
import type { FileReader } from "./reader.ts";
import { routerBlocks } from "./token_reader.ts";

/** What of a router's plan says where its routes come from. */
type RouteSource = Pick<RouterSpec, "input" | "reader" | "tasks" | "draws"> & {
  readonly layers: readonly Linear[];
  readonly selection?: RouterSpec["selection"] | undefined;
  readonly tree?: TreeSpec | undefined;
};

/** What a mapping knows of a layer. */
interface SourceLayer {
  readonly width: number;
  readonly experts: number;
  /** Name of the router's matrix. */
  readonly name: string;
  /** No layer before it has experts. */
  readonly isFirst: boolean;
}

const MOST_TASKS = 1 << 12;

/**
 * Where `router.input` says that a layer's routes come from, in place of what its family has; undefined without that key.
 * No GGUF file has it: it is for what papers make of a family. Pre-gated MoE, Read-ME, M³ViT, SkillNet, THOR. COMET's trees,
 * `tree`, read what the experts read, as most routers do.
 */
export function routeSource(reader: FileReader, layer: SourceLayer): RouteSource | undefined {
  const input = reader.text("router.input");
  const { experts, width, name, isFirst } = layer;
  const linear = (of: string, out: number, cols: number): Linear => ({
    weight: reader.tensor(`${of}.weight`, [out, cols]),
    bias: reader.optional(`${of}.bias`, [out]),
  });
  const named = () => reader.count("expert_used_count", experts);
  switch (input) {
    case undefined:
      return undefined;
    case "previous-layer":
      return { input: isFirst ? "block" : input, layers: [linear(name, experts, width)] };
    case "token":
      return tokenSource(reader, layer, linear);
    case "task":
      return taskSource(reader, layer, linear);
    case "given":
      return { input, layers: [], selection: { rule: "threshold", threshold: 0.5, kMax: named() } };
    case "tree":
      return treeSource(reader, layer, linear);
    case "draw":
      return { input, layers: [], selection: { rule: "top-k", k: 1 }, draws: drawsOf(reader) };
    default:
      throw reader.unsupported(`router.input ${input}`, { input });
  }
}

type MakeLinear = (of: string, out: number, cols: number) => Linear;

/** One router for all layers: of the model's embedding, or of its own, with a small decoder behind that. */
function tokenSource(reader: FileReader, { experts, width }: SourceLayer, linear: MakeLinear): RouteSource {
  const name = "router_embd.weight";
  if (!reader.has(name)) return { input: "token", layers: [linear("router_gate", experts, width)] };
  const size = reader.count("router.embedding_length", 1 << 20);
  const table = { weight: reader.tensor(name, [reader.rows("token_embd.weight"), size]) };
  const layers = [linear("router_gate", experts, size)];
  return { input: "token", reader: { table, ...routerBlocks(reader, size) }, layers };
}

/** A matrix for each task, one below the other, or one for all that reads the task's embedding too. */
function taskSource(
  reader: FileReader,
  { experts, width, name }: SourceLayer,
  linear: MakeLinear,
): RouteSource {
  const count = reader.count("router.task_count", MOST_TASKS);
  if (!reader.has("task_embd.weight")) {
    return { input: "task", tasks: { count }, layers: [linear(name, count * experts, width)] };
  }
  const size = reader.count("router.embedding_length", 1 << 20);
  const embedding = reader.tensor("task_embd.weight", [count, size]);
  return { input: "task", tasks: { count, embedding }, layers: [linear(name, experts, width + size)] };
}

const MOST_TREES = 1 << 12;
/** The least of floats that adapters may not take for 0: scores are 0, or count. */
export const LEAST_SCORE = 2 ** -126;

/** Every expert that a tree reaches. */
function treeSource(
  reader: FileReader,
  { experts, width, name }: SourceLayer,
  linear: MakeLinear,
): RouteSource {
  const count = reader.count("router.tree_count", MOST_TREES);
  const gamma = reader.factor("router.tree_step");
  if (experts < 2) throw reader.contradiction("a tree has two experts at least", { experts });
  if (!(gamma > 0)) throw reader.contradiction(`router.tree_step is ${gamma}, not above 0`, { gamma });
  return {
    input: "block",
    layers: [
      linear(`${name}_nodes`, count * (experts - 1), width),
      linear(`${name}_leaves`, count * experts, width),
    ],
    selection: { rule: "threshold", threshold: LEAST_SCORE, kMax: experts },
    tree: { count, gamma, permutations: reader.optional(`${name}_order.weight`, [count, experts, experts]) },
  };
}

function drawsOf(reader: FileReader): "token" | "sequence" {
  const draws = reader.text("router.draws") ?? "token";
  if (draws === "token" || draws === "sequence") return draws;
  throw reader.unsupported(`router.draws ${draws}`, { draws });
}

/** MomentumSMoE's settings, where the file has `momentum.factor`; Adam's are of the first layer with experts. */
export function momentumOf(reader: FileReader, isFirst: boolean): Momentum | undefined {
  if (!reader.hasKey("momentum.factor")) return undefined;
  const adam = reader.numbers("momentum.adam", 3) as [number, number, number] | undefined;
  const [mean, square, step] = adam ?? [];
  return {
    factor: reader.number("momentum.factor"),
    step: reader.number("momentum.step", 1),
    isPostNorm: reader.flag("momentum.post_norm", false),
    adam:
      isFirst && mean !== undefined && square !== undefined && step !== undefined
        ? { mean, square, step }
        : undefined,
  };
}
