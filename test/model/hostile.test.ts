/**
 * Headers that lie. Every key that a mapping reads and every kind of tensor that it asks for is given values that no
 * converter writes; what comes out is a plan without contradictions, or an error that says which key or tensor is wrong.
 */
import { describe, expect, test } from "vitest";
import { SluiceError, type SluiceErrorCode } from "../../src/errors.ts";
import { planModel } from "../../src/model/archs/index.ts";
import { type Prepared, prepare } from "../../src/model/load.ts";
import type { ExpertSpec } from "../../src/model/moe_plan.ts";
import type {
  AttentionBlock,
  Block,
  DeltaNetBlock,
  ExpertAttentionBlock,
  FeedForwardBlock,
  LatentAttentionBlock,
  Linear,
  MixtureSpec,
  ModelPlan,
  NormSpec,
  RopeSpec,
} from "../../src/model/plan.ts";
import { outputLinears, seriesOf } from "../../src/model/plan.ts";
import { requireRunnable } from "../../src/model/runnable.ts";
import { fileBytes, fileFormats, type TensorType } from "../../src/quant/formats.ts";
import type { Metadata, MetadataValue, ModelFile, TensorInfo } from "../../src/source/model_file.ts";
import { smallModel } from "../support/engine.ts";
import { familyHeader, familyNames } from "../support/family_fixture.ts";
import { changed, headerOf } from "./plan_file.ts";

type Value = MetadataValue | undefined;
type Shapes = Readonly<Record<string, readonly number[]>>;

/** `file` under another architecture, with more keys, and with tensors of F32 that it has not or has in another shape. */
function renamed(file: ModelFile, architecture: string, keys: Metadata = {}, shapes: Shapes = {}): ModelFile {
  const own = Object.entries(file.metadata).map(([key, value]) => [
    key.replace(/^[^.]+\.(?=.)/, (prefix) => (prefix === "general." ? prefix : `${architecture}.`)),
    value,
  ]);
  const more = Object.entries(keys).map(([key, value]) => [`${architecture}.${key}`, value]);
  let { size } = file;
  const added = Object.entries(shapes).map(([name, shape]): TensorInfo => {
    const bytes = 4 * product(shape);
    size += bytes;
    return { name, type: "F32", shape, offset: size - bytes, bytes };
  });
  const metadata = Object.fromEntries([...own, ...more, ["general.architecture", architecture]]);
  return {
    ...file,
    size,
    metadata,
    tensors: [...file.tensors.filter(({ name }) => !(name in shapes)), ...added],
  };
}

const product = (shape: readonly number[]) => shape.reduce((all, n) => all * n, 1);

/** The same tensors in both layers. */
const inLayers = (shapes: Shapes): Shapes =>
  Object.fromEntries(
    [0, 1].flatMap((l) => Object.entries(shapes).map(([name, shape]) => [`blk.${l}.${name}`, shape])),
  );

const WIDTH = 128;
const mlp = (suffix: string, hidden: number): Shapes => ({
  [`ffn_gate${suffix}.weight`]: [hidden, WIDTH],
  [`ffn_up${suffix}.weight`]: [hidden, WIDTH],
  [`ffn_down${suffix}.weight`]: [WIDTH, hidden],
});

/** By name; for each architecture there is at least one. */
async function allHeaders(): Promise<Map<string, ModelFile>> {
  const headers = new Map([["small", await headerOf(smallModel())]]);
  // The deep one is there for what llama.cpp tells by the number of layers.
  for (const name of familyNames()) if (!name.endsWith("27")) headers.set(name, await familyHeader(name));
  const of = (name: string) => headers.get(name) as ModelFile;
  const gated = { ...mlp("_shexp", 64), "ffn_gate_inp_shexp.weight": [WIDTH] };
  headers.set("deepseek", renamed(of("dots1"), "deepseek"));
  headers.set(
    "ernie4_5-moe",
    renamed(of("dots1"), "ernie4_5-moe", { expert_shared_feed_forward_length: 192 }),
  );
  headers.set("granitemoe", renamed(of("granite-moe"), "granitemoe"));
  headers.set(
    "bailingmoe",
    renamed(of("small"), "bailingmoe", { expert_shared_count: 1 }, inLayers(mlp("_shexp", 128))),
  );
  headers.set(
    "qwen2moe",
    renamed(of("small"), "qwen2moe", { expert_shared_feed_forward_length: 64 }, inLayers(gated)),
  );
  headers.set("qwen3", renamed(of("small"), "qwen3", { feed_forward_length: 96 }, inLayers(mlp("", 96))));
  const norms = { "attn_q_norm.weight": [128], "attn_k_norm.weight": [128] };
  headers.set("olmoe", renamed(of("small"), "olmoe", {}, inLayers(norms)));
  return headers;
}

const headers = await allHeaders();
const keysOf = new Map([...headers.values()].map((file) => [file, keysRead(file)]));
const header = (name: string) => headers.get(name) as ModelFile;

/** The key without the architecture before it. */
const short = (file: ModelFile, key: string) => key.replace(`${file.metadata["general.architecture"]}.`, "");
const long = (file: ModelFile, key: string) => `${file.metadata["general.architecture"]}.${key}`;

/** Metadata keys that planning asks for. */
function keysRead(file: ModelFile): ReadonlySet<string> {
  const keys = new Set<string>();
  const metadata = new Proxy(file.metadata, {
    get(target, key: string) {
      keys.add(key);
      return target[key];
    },
  });
  try {
    planModel({ ...file, metadata });
  } catch {
    // What was read until then is known.
  }
  return keys;
}

const CODES: readonly SluiceErrorCode[] = [
  "bad-model-file",
  "unsupported-model",
  "out-of-memory",
  "bad-request",
];
/** Another tensor than the one that was changed may be what the keys contradict. */
const TENSOR = /tensor \S+ (is missing|has shape)/;
/** What several keys make together. */
const COMBINED = ["rope.scaling comes to", "attention.scale comes to"];

/** All that happens to a header before anything is allocated. */
const wholly: Planning = (file) => {
  const prepared = prepare(file, {});
  return [...new Soundness(prepared.plan).faults, ...pageFaults(prepared, file)];
};
/** The same without pages, which take most of the time and are made of the plan alone. */
const briefly: Planning = (file) => {
  const plan = planModel(file);
  requireRunnable(plan);
  return new Soundness(plan).faults;
};
/** @returns what is wrong with a plan that passed */
type Planning = (file: ModelFile) => string[];

/** What is wrong with how planning ends; `names` are the words of which an error has one. */
function complaints(
  file: ModelFile,
  names: readonly string[],
  planned: Planning,
  mustFail = false,
): string[] {
  try {
    const faults = planned(file);
    return mustFail ? ["passed over"] : faults;
  } catch (error) {
    if (!(error instanceof SluiceError)) return [`threw ${String(error)}`];
    const { code, message, details, remedy } = error;
    const faults = [];
    if (!CODES.includes(code)) faults.push(`code ${code}`);
    if (remedy === "") faults.push("no remedy");
    if (!names.some((name) => message.includes(name)) && !TENSOR.test(message)) faults.push("nothing named");
    if (Object.keys(details).length === 0) faults.push("no details");
    return faults.map((fault) => `${fault}: ${message}`);
  }
}

/** Of no use for any key; refused, then. */
const useless: readonly Value[] = [Number.NaN, 1e300, "text", []];
const doubtful: readonly Value[] = [undefined, 0, -1, 0.5, 2 ** 31, 2 ** 53];
/** The same and some more in other words, all of which `FileReader` takes the same way for every family. */
const moreUseless: readonly Value[] = [2n ** 63n, [Number.NaN], ["x"], [[]]];
const moreDoubtful: readonly Value[] = [
  true,
  1e-300,
  ...[0, -1, 0.5, 2 ** 53].map((n) => Array<number>(8).fill(n)),
];

function near(value: Value): Value[] {
  if (typeof value === "number") return [value + 1, value * 2, value / 2];
  return Array.isArray(value) ? [value.slice(0, 1), value.slice(0, -1), [...value.slice(0, -1), 1e9]] : [];
}

/** A scalar where a list is looked for is the same as nothing to this family, as it has a plain rope too. */
const passedOver = (file: ModelFile, key: string) =>
  key === "general.name" ||
  (key === long(file, "rope.dimension_sections") && file.name.startsWith("glm4moe"));

/** One of each kind of mixer, router and rope. */
const THOROUGHLY = [
  "small",
  "deepseek2-groups-yarn",
  "gpt-oss-yarn",
  "lfm2moe-4",
  "qwen3next-ssm-in",
  "qwen3vlmoe",
];

/** Keys that mappings read only where others are set. */
const settings: readonly Metadata[] = [
  {},
  { "rope.scaling.type": "yarn", "rope.scaling.factor": 4, "rope.scaling.original_context_length": 64 },
  { expert_group_count: 2, expert_group_used_count: 1 },
];

function withValue(file: ModelFile, key: string, value: Value): ModelFile {
  const { [key]: _, ...metadata } = file.metadata;
  return { ...file, metadata: value === undefined ? metadata : { ...metadata, [key]: value } };
}

interface Swept {
  readonly cases: number;
  readonly faults: readonly string[];
}

function sweepKeys(file: ModelFile, isThorough: boolean): Swept {
  const bad = isThorough ? [...useless, ...moreUseless] : useless;
  const odd = isThorough ? [...doubtful, ...moreDoubtful] : doubtful;
  let cases = 0;
  const faults: string[] = [];
  const done = new Set(["general.name"]);
  for (const setting of isThorough ? settings : settings.slice(0, 1)) {
    const entries = Object.entries(setting).map(([key, value]) => [long(file, key), value]);
    const base = { ...file, metadata: { ...file.metadata, ...Object.fromEntries(entries) } };
    const keys = keysRead(base);
    const names = [...[...keys].map((key) => short(file, key)), ...COMBINED];
    const attempt = (key: string, value: Value, mustFail: boolean) => {
      cases += 1;
      const named = key === "general.architecture" ? [key, String(value)] : names;
      const found = complaints(withValue(base, key, value), named, isThorough ? wholly : briefly, mustFail);
      faults.push(...found.map((fault) => `${key} = ${typeof value} ${value}: ${fault}`));
    };
    for (const key of keys) {
      if (done.has(key) && !(short(file, key) in setting)) continue;
      done.add(key);
      for (const value of bad) attempt(key, value, !passedOver(file, key));
      for (const value of [...odd, ...near(base.metadata[key])]) attempt(key, value, false);
    }
  }
  return { cases, faults };
}

/** A tensor as another header would have it, still a whole number of blocks; nothing for what a file cannot say. */
function reshaped(
  tensor: TensorInfo,
  shape: readonly number[],
  type: TensorType = tensor.type,
): Partial<TensorInfo>[] {
  const isWhole =
    shape.every((n) => Number.isInteger(n) && n > 0) && (shape.at(-1) ?? 0) % fileFormats[type].block === 0;
  return isWhole ? [{ shape, type, bytes: fileBytes(type, product(shape)) }] : [];
}

function changesOf(tensor: TensorInfo): (Partial<TensorInfo> | undefined)[] {
  const { shape } = tensor;
  const [rows = 1] = shape;
  return [
    undefined,
    ...shape.flatMap((n, axis) => reshaped(tensor, shape.with(axis, n + 32))),
    ...reshaped(tensor, shape.with(0, rows / 2)),
    ...reshaped(tensor, shape.with(0, 2 * rows)),
    ...reshaped(tensor, shape.toReversed()),
    ...reshaped(tensor, [product(shape)]),
    ...reshaped(tensor, [2, ...shape]),
    ...(["I32", "Q8_0"] as const).flatMap((type) => reshaped(tensor, shape, type)),
  ];
}

/** One tensor of each kind, the last. */
function sweepTensors(file: ModelFile): Swept {
  let cases = 0;
  const faults: string[] = [];
  const kinds = new Map(file.tensors.map((tensor) => [tensor.name.replace(/\.\d+\./, ".*."), tensor]));
  for (const tensor of kinds.values()) {
    for (const change of changesOf(tensor)) {
      cases += 1;
      const other = change && { ...tensor, ...change, offset: file.size };
      const tensors = file.tensors.flatMap((one) => (one !== tensor ? [one] : other ? [other] : []));
      const size = file.size + (other?.bytes ?? 0);
      const found = complaints({ ...file, size, tensors }, [tensor.name], wholly);
      faults.push(...found.map((fault) => `${tensor.name} ${other?.type} [${other?.shape}]: ${fault}`));
    }
  }
  return { cases, faults };
}

describe("no value of a key and no shape of a tensor ends in anything but a sound plan or an error that names it", () => {
  test.each([...headers.keys()])("%s", (name) => {
    const file = header(name);
    expect(wholly(file)).toEqual([]);
    const [keys, tensors] = [sweepKeys(file, THOROUGHLY.includes(name)), sweepTensors(file)];
    expect([...keys.faults, ...tensors.faults]).toEqual([]);
    // The sweep has swept.
    expect(keys.cases).toBeGreaterThan(200);
    expect(tensors.cases).toBeGreaterThan(100);
  });
});
/** The failure of planning `file`, whose message has the key or tensor and all that `details` should have. */
function expectFailure(
  file: ModelFile,
  code: SluiceErrorCode,
  named: string,
  details: Readonly<Record<string, unknown>>,
): void {
  let failure: unknown;
  try {
    prepare(file, {});
  } catch (error) {
    failure = error;
  }
  expect(failure, `${file.metadata["general.architecture"]} ${named}`).toBeInstanceOf(SluiceError);
  const { message } = failure as SluiceError;
  expect(failure, message).toMatchObject({ code, details });
  for (const word of [named, ...Object.values(details)]) expect(message).toContain(String(word));
}

type Details = Readonly<Record<string, unknown>>;

describe("in every family that has the key", () => {
  const sizes = (value: number, least: number, most: unknown = undefined): Details =>
    most === undefined ? { value } : { value, least, most };

  test.each<[string, (file: ModelFile) => Value, (file: ModelFile) => Details]>([
    ["block_count", () => 0, () => sizes(0, 1, 4096)],
    ["block_count", () => 4097, () => sizes(4097, 1, 4096)],
    ["context_length", () => 0, () => sizes(0, 1, 2 ** 31)],
    ["embedding_length", () => 2 ** 31, () => sizes(2 ** 31, 1, 2 ** 20)],
    ["attention.head_count", () => 0, () => sizes(0, 1, 4096)],
    ["attention.key_length", () => 0, () => sizes(0, 1, 4096)],
    ["attention.value_length", () => -64, () => sizes(-64, 1, 4096)],
    ["rope.freq_base", () => 0, () => ({ base: 0 })],
    ["rope.freq_base", () => 1, () => ({ base: 1 })],
    ["rope.freq_base", () => -10000, () => sizes(-10000, 0)],
    ["rope.freq_base", () => Number.NaN, () => ({})],
    ["rope.scaling.factor", () => -4, () => sizes(-4, 0)],
    ["rope.dimension_count", () => 15, () => ({ rotary: 15 })],
    ["rope.dimension_count", () => 8192, () => ({ value: 8192 })],
    [
      "leading_dense_block_count",
      (file) => layersOf(file) + 1,
      (file) => sizes(layersOf(file) + 1, 0, layersOf(file)),
    ],
    ["leading_dense_block_count", () => -1, (file) => sizes(-1, 0, layersOf(file))],
    ["leading_dense_block_count", () => 0.5, (file) => sizes(0.5, 0, layersOf(file))],
    [
      "nextn_predict_layers",
      (file) => layersOf(file),
      (file) => sizes(layersOf(file), 0, layersOf(file) - 1),
    ],
    ["expert_used_count", () => 9, () => sizes(9, 1, 8)],
    ["expert_used_count", () => 0, () => sizes(0, 1, 8)],
    ["expert_count", () => 65537, () => ({ value: 65537 })],
    ["attention.sliding_window", () => -1, () => ({ value: -1 })],
    ["attention.layer_norm_rms_epsilon", () => -1e-6, () => sizes(-1e-6, 0)],
    ["attention.layer_norm_epsilon", () => -1e-6, () => sizes(-1e-6, 0)],
    ["expert_weights_scale", () => -1, () => sizes(-1, 0)],
    ["interleave_moe_layer_step", () => -2, () => ({ value: -2 })],
    ["attention.clamp_kqv", () => -8, () => sizes(-8, 0)],
    ["attn_logit_softcapping", () => -30, () => sizes(-30, 0)],
  ])("%s", (key, value, details) => {
    let families = 0;
    for (const file of headers.values()) {
      if (!keysOf.get(file)?.has(long(file, key))) continue;
      // Dense models have no experts to count.
      if (key.startsWith("expert_used") && !file.tensors.some(({ name }) => name.includes("_exps.")))
        continue;
      families += 1;
      expectFailure(withValue(file, long(file, key), value(file)), "bad-model-file", key, details(file));
    }
    expect(families).toBeGreaterThan(0);
  });

  test("more experts than the tensors have, fewer of them, and far too many", () => {
    for (const file of headers.values()) {
      if (!keysOf.get(file)?.has(long(file, "expert_count"))) continue;
      const router = file.tensors.find(({ name }) => name.endsWith("ffn_gate_inp.weight"));
      const [experts = 0] = router?.shape ?? [];
      for (const count of router ? [experts - 1, 2 * experts, 65536] : []) {
        const details = { actual: `${experts},${WIDTH}`, expected: `${count},${WIDTH}` };
        const other = withValue(file, long(file, "expert_count"), count);
        expectFailure(other, "bad-model-file", "ffn_gate_inp.weight", details);
      }
    }
  });

  test("a layer that is not there, of 4096", () => {
    for (const file of headers.values()) {
      const metadata = { [long(file, "block_count")]: 4096, [long(file, "nextn_predict_layers")]: undefined };
      // What lists say something of each layer ends with the layers as well.
      const lists = Object.entries(file.metadata).filter(([, value]) => Array.isArray(value));
      const longer = lists.map(([key, value]) => [
        key,
        [...(value as MetadataValue[]), ...Array(4096).fill(1)],
      ]);
      const many = changed(file, { metadata: { ...Object.fromEntries(longer), ...metadata } });
      expectFailure(many, "bad-model-file", `tensor blk.${layersOf(file)}.`, {});
    }
  });

  test("other rows of the output than of the embedding", () => {
    for (const file of headers.values()) {
      const tensors = file.tensors.map((tensor) => {
        const bytes = (tensor.bytes / 128) * 96;
        return tensor.name === "output.weight" ? { ...tensor, shape: [96, WIDTH], bytes } : tensor;
      });
      if (!tensors.some(({ name }) => name === "output.weight")) continue;
      const details = { actual: `96,${WIDTH}`, expected: `128,${WIDTH}` };
      expectFailure({ ...file, tensors }, "bad-model-file", "output.weight", details);
    }
  });
});

function layersOf(file: ModelFile): number {
  const layers = file.metadata[long(file, "block_count")] as number;
  const last = Math.max(...file.tensors.map(({ name }) => Number(/^blk\.(\d+)\./.exec(name)?.[1] ?? -1)));
  expect(last).toBe(layers - 1);
  return layers;
}

describe("in one family", () => {
  test.each<[string, string, Metadata, string, Details, SluiceErrorCode?]>([
    [
      "a width that heads do not divide",
      "lfm2moe-4",
      { "attention.head_count": 3 },
      "embedding_length 128",
      { heads: 3, width: 128 },
    ],
    [
      "groups that do not divide the experts",
      "deepseek2-groups-yarn",
      { expert_group_count: 3 },
      "expert_group_count",
      { experts: 8, groups: 3 },
    ],
    [
      "more groups than experts",
      "deepseek2-groups-yarn",
      { expert_group_count: 16 },
      "expert_group_count",
      { value: 16, most: 8 },
    ],
    [
      "more groups used than there are",
      "deepseek2-groups-yarn",
      { expert_group_used_count: 9 },
      "expert_group_used_count",
      { value: 9 },
    ],
    ["no group used", "bailingmoe2", { expert_group_used_count: 0 }, "expert_group_used_count", { value: 0 }],
    [
      "more used than the groups have",
      "bailingmoe2",
      { expert_group_count: 8, expert_group_used_count: 1 },
      "expert_used_count",
      { k: 3, most: 1 },
    ],
    [
      "another window in every 0th layer",
      "llama4-gqa",
      { interleave_moe_layer_step: 0 },
      "interleave_moe_layer_step",
      { value: 0 },
    ],
    [
      "a window of nothing",
      "gpt-oss-yarn",
      { "attention.sliding_window": 0 },
      "attention.sliding_window",
      { value: 0 },
    ],
    [
      "half a token in a window",
      "exaone-moe",
      { "attention.sliding_window": 0.5 },
      "attention.sliding_window",
      { value: 0.5 },
    ],
    [
      "windows for one layer",
      "gpt-oss-yarn",
      { "attention.sliding_window_pattern": [1] },
      "sliding_window_pattern",
      { values: 1, layer: 1 },
    ],
    [
      "windows for a share of layers",
      "exaone-moe",
      { "attention.sliding_window_pattern": 0.5 },
      "sliding_window_pattern",
      { value: 0.5 },
    ],
    [
      "windows told in words",
      "gpt-oss-yarn",
      { "attention.sliding_window_pattern": ["yes"] },
      "sliding_window_pattern",
      {},
    ],
    [
      "heads for one layer",
      "lfm2moe-4",
      { "attention.head_count_kv": [0] },
      "attention.head_count_kv",
      { values: 1, layer: 1 },
    ],
    [
      "half a rotated pair for pictures",
      "qwen3vlmoe",
      { "rope.dimension_sections": [0.5, 1, 1, 0] },
      "rope.dimension_sections",
      { value: 0.5 },
    ],
    [
      "no rotated pair for pictures",
      "qwen3vlmoe",
      { "rope.dimension_sections": [0, 0, 0, 0] },
      "rope.dimension_sections",
      { seen: 0 },
    ],
    [
      "more pairs for pictures than there are",
      "qwen3vlmoe",
      { "rope.dimension_sections": [33, 0, 0, 0] },
      "rope.dimension_sections",
      { value: 33, most: 32 },
    ],
    [
      "value heads that key heads do not divide",
      "qwen3next-gdn4",
      { "ssm.time_step_rank": 5 },
      "ssm.time_step_rank",
      { keyHeads: 2, valueHeads: 5 },
    ],
    [
      "elements that value heads do not divide",
      "qwen3next-ssm-in",
      { "ssm.inner_size": 255 },
      "ssm.inner_size",
      { inner: 255, valueHeads: 4 },
    ],
    ["no key heads", "qwen35moe-gdn4", { "ssm.group_count": 0 }, "ssm.group_count", { value: 0 }],
    [
      "another convolution than the tensor's",
      "qwen35moe-gdn4",
      { "ssm.conv_kernel": 5 },
      "ssm_conv1d.weight",
      { actual: "512,4", expected: "512,5" },
    ],
    ["no convolution", "qwen3next-gdn4", { "ssm.conv_kernel": 0 }, "ssm.conv_kernel", { value: 0 }],
    [
      "another short convolution than the tensor's",
      "lfm2moe-4",
      { "shortconv.l_cache": 4 },
      "shortconv.conv.weight",
      { actual: "128,3", expected: "128,4" },
    ],
    ["no short convolution", "lfm2moe-4", { "shortconv.l_cache": 0 }, "shortconv.l_cache", { value: 0 }],
    [
      "no latent",
      "deepseek2-legacy",
      { "attention.kv_lora_rank": 0 },
      "attention.kv_lora_rank",
      { value: 0 },
    ],
    [
      "another latent than the tensors'",
      "deepseek2-noqlora",
      { "attention.kv_lora_rank": 32 },
      "attn_kv_a_mqa.weight",
      {},
    ],
    [
      "latent keys that are not those of the tensors",
      "deepseek2-groups-yarn",
      { "attention.key_length_mla": 100 },
      "tensor blk.0.attn_q_b.weight",
      {},
    ],
    [
      "latent keys below 0",
      "deepseek2-groups-yarn",
      { "attention.key_length_mla": -1 },
      "attention.key_length_mla",
      { value: -1 },
    ],
    [
      "a scale that no float holds",
      "deepseek2-groups-yarn",
      { "rope.scaling.attn_factor": 1e30 },
      "attention.scale",
      {},
    ],
    [
      "YaRN with less than nothing to divide by",
      "gpt-oss-yarn",
      { "rope.scaling.yarn_log_multiplier": -7 },
      "yarn_log_multiplier",
      { value: -7, least: 0 },
    ],
    [
      "YaRN with a beta below 0",
      "mellum",
      { "rope.scaling.yarn_beta_slow": -1 },
      "yarn_beta_slow",
      { value: -1, least: 0 },
    ],
    [
      "a rope scaled in another way",
      "small",
      { "rope.scaling.type": "ntk" },
      "rope.scaling.type ntk",
      {},
      "unsupported-model",
    ],
    [
      "a router of another kind",
      "glm4moe",
      { expert_gating_func: 5 },
      "expert_gating_func 5",
      { told: 5 },
      "unsupported-model",
    ],
    [
      "a multiplier of almost nothing",
      "granite-moe",
      { logit_scale: 1e-45 },
      "logit_scale",
      { value: 1e-45 },
    ],
  ])("%s", (_, name, keys, named, details, code = "bad-model-file") => {
    const file = header(name);
    const metadata = Object.fromEntries(Object.entries(keys).map(([key, value]) => [long(file, key), value]));
    expectFailure(changed(file, { metadata }), code, named, details);
  });

  test("a latent that is rotated as a whole", () => {
    const file = header("deepseek2-groups-yarn");
    const keySize = file.metadata["deepseek2.attention.key_length_mla"] as number;
    const metadata = { "deepseek2.rope.dimension_count": keySize };
    expectFailure(changed(file, { metadata }), "bad-model-file", "rope.dimension_count", {
      keySize,
      rotary: keySize,
    });
  });

  test.each([
    ["lfm2moe-4", "shortconv.l_cache", "shortconv.conv.weight"],
    ["qwen3next-gdn4", "ssm.conv_kernel", "ssm_conv1d.weight"],
  ])("%s with a convolution over one token", (name, key, end) => {
    const file = header(name);
    const { shape } = file.tensors.find((tensor) => tensor.name.endsWith(end)) as TensorInfo;
    const [channels = 0] = shape;
    const one = changed(file, {
      metadata: { [long(file, key)]: 1 },
      tensors: { [end]: { shape: [channels, 1], bytes: 4 * channels } },
    });
    expectFailure(one, "unsupported-model", "a convolution over 1 token", {});
  });

  test("a norm in blocks, and in whole numbers", () => {
    for (const type of ["Q8_0", "I32"] as const) {
      const tensors = { "output_norm.weight": { type, bytes: fileBytes(type, WIDTH) } };
      const file = changed(header("small"), { tensors });
      expectFailure(file, "unsupported-model", `type ${type} (tensor output_norm.weight`, {});
    }
  });
});

const FLOATS: readonly string[] = ["F32", "F16", "BF16"];

function pageFaults({ pages: { pages } }: Prepared, { size }: ModelFile): string[] {
  const faults = pages.flatMap((page) =>
    page.parts.flatMap(({ tensor, bytes, offset, source }) => {
      const [end, last] = [offset + bytes, source.offset + source.bytes];
      const isIn = Number.isSafeInteger(end) && bytes > 0 && offset >= 0 && end <= page.bytes;
      const isThere = Number.isSafeInteger(last) && source.bytes > 0 && source.offset >= 0 && last <= size;
      return isIn && isThere ? [] : [`unsound: ${tensor} in ${page.label}`];
    }),
  );
  return pages.length < 1e6 ? faults : [`unsound: ${pages.length} pages`];
}

/** Looks for contradictions in a plan, by nothing but what `plan.ts` says of its parts. */
class Soundness {
  readonly #found = new Set<string>();
  readonly #width: number;

  constructor(plan: ModelPlan) {
    this.#width = plan.width;
    this.#numbers(plan, "plan", new Set());
    const { vocabulary, width, contextTokens, layers } = plan;
    this.#whole({ vocabulary, width, contextTokens, layers: layers.length });
    const series = seriesOf(plan);
    if (!series) this.#linear(plan.embedding as Linear, vocabulary, width);
    for (const vector of series ? [series.embedding.gate, series.embedding.value] : []) {
      this.#vector(vector, width, series?.embedding.size ?? 0);
    }
    const rows = outputLinears(plan).map((linear) => linear.weight.shape[0] ?? 0);
    this.#must(rows.reduce((sum, n) => sum + n, 0) === vocabulary, `outputs of ${rows} rows`);
    for (const [i, linear] of outputLinears(plan).entries()) this.#linear(linear, rows[i] as number, width);
    this.#norm(plan.finalNorm, width);
    for (const { blocks } of layers) for (const block of blocks) this.#block(block);
  }

  get faults(): string[] {
    return [...this.#found].map((fault) => `unsound: ${fault}`);
  }

  #must(ok: boolean, what: string): void {
    if (!ok) this.#found.add(what);
  }

  /** Every number is one that a kernel can be given, and none that should be 0 or more is below. */
  #numbers(value: unknown, path: string, seen: Set<unknown>): void {
    if (typeof value === "number") {
      this.#must(Number.isFinite(Math.fround(value)) && value >= 0, `${path} is ${value}`);
    }
    if (typeof value !== "object" || value === null || seen.has(value)) return;
    seen.add(value);
    for (const [key, inner] of Object.entries(value)) this.#numbers(inner, `${path}.${key}`, seen);
  }

  #whole(numbers: Readonly<Record<string, number>>, least = 1): void {
    for (const [name, n] of Object.entries(numbers)) {
      this.#must(Number.isSafeInteger(n) && n >= least, `${name} is ${n}`);
    }
  }

  #tensor({ name, shape }: TensorInfo, ...wanted: number[]): void {
    this.#must(String(shape) === String(wanted), `${name} is [${shape}], not [${wanted}]`);
  }

  #vector(tensor: TensorInfo | undefined, ...wanted: number[]): void {
    if (!tensor) return;
    this.#tensor(tensor, ...wanted);
    this.#must(FLOATS.includes(tensor.type), `${tensor.name} is a vector of ${tensor.type}`);
  }

  #linear({ weight, bias, scale }: Linear, ...wanted: number[]): void {
    this.#tensor(weight, ...wanted);
    this.#vector(bias, ...wanted.slice(0, -1));
    this.#vector(scale, wanted.length === 3 ? (wanted[0] as number) : 1);
  }

  #norm(norm: Pick<NormSpec, "weight" | "bias"> | undefined, length: number): void {
    this.#vector(norm?.weight, length);
    this.#vector(norm?.bias, length);
  }

  #rope({ rotary, frequencies }: RopeSpec, most: number): void {
    this.#whole({ rotary, half: rotary / 2 });
    this.#must(rotary <= most, `${rotary} of ${most} elements are rotated`);
    this.#must(frequencies.length === rotary / 2, `${frequencies.length} frequencies for ${rotary} elements`);
    this.#must(Math.max(...frequencies) > 0, "nothing is rotated");
  }

  #block(block: Block): void {
    this.#norm(block.norm, this.#width);
    this.#norm(block.postNorm, this.#width);
    if (block.kind === "attention") this.#attention(block);
    else if (block.kind === "latent-attention") this.#latent(block);
    else if (block.kind === "delta-net") this.#deltaNet(block);
    else if (block.kind === "feed-forward") this.#feedForward(block);
    else if (block.kind === "expert-attention") this.#expertAttention(block);
    else if (block.kind === "short-convolution") {
      const tokens = block.kernel.shape[1] ?? 0;
      this.#whole({ tokens }, 2);
      this.#vector(block.kernel, this.#width, tokens);
      this.#linear(block.input, 3 * this.#width, this.#width);
      this.#linear(block.output, this.#width, this.#width);
    }
  }

  #expertAttention({ heads, headSize, keyValue }: ExpertAttentionBlock): void {
    this.#whole({ heads, headSize, of4: headSize / 4 });
    this.#must(keyValue !== undefined || heads * headSize === this.#width, "no keys");
    if (keyValue) this.#linear(keyValue.k, heads * headSize, this.#width);
    if (keyValue) this.#linear(keyValue.v, heads * headSize, this.#width);
  }

  #attention(block: AttentionBlock): void {
    const { heads, kvHeads, keySize, valueSize, gate, rope, window, temperature } = block;
    this.#whole({
      heads,
      kvHeads,
      keySize,
      valueSize,
      group: heads / kvHeads,
      of4: keySize / 4,
      values4: valueSize / 4,
    });
    const { mixture } = block;
    if (mixture) this.#mixture(block, mixture);
    else {
      this.#linear(block.q, heads * keySize * (gate === "in q" ? 2 : 1), this.#width);
      this.#linear(block.k, kvHeads * keySize, this.#width);
      this.#linear(block.v, kvHeads * valueSize, this.#width);
      this.#linear(block.output, this.#width, heads * valueSize);
    }
    if (gate && gate !== "in q") this.#linear(gate, heads * valueSize, this.#width);
    for (const [norm, count] of [
      [block.qNorm, heads],
      [block.kNorm, kvHeads],
    ] as const) {
      const isWhole = norm?.weight?.shape[0] !== keySize;
      this.#vector(norm?.weight, isWhole ? count * keySize : keySize);
    }
    if (rope) this.#rope(rope, keySize);
    if (window) this.#whole({ window: window.tokens });
    if (temperature) this.#whole({ length: temperature.length, offset: temperature.offset + 1 });
    this.#must(block.softcap !== 0 && block.clamp !== 0, "cut off at 0");
    this.#vector(block.sinks, heads);
  }

  #mixture(block: AttentionBlock, { experts, gate, sharesKeys }: MixtureSpec): void {
    const { heads, kvHeads, keySize, valueSize, q, k, v, output } = block;
    const each = heads / experts;
    const sets = sharesKeys ? 1 : experts;
    this.#whole({ experts, each, kv: kvHeads / sets, group: each / (kvHeads / sets) });
    this.#linear(gate, experts, this.#width);
    this.#linear(q, experts, each * keySize, this.#width);
    this.#linear(k, sets, (kvHeads / sets) * keySize, this.#width);
    this.#linear(v, sets, (kvHeads / sets) * valueSize, this.#width);
    this.#linear(output, experts, this.#width, each * valueSize);
  }

  #latent(block: LatentAttentionBlock): void {
    const { heads, rank, rotary, plain, valueSize, queryDown, keyUp, valueUp } = block;
    this.#whole({
      heads,
      rank,
      rotary4: rotary / 4,
      plain4: plain / 4,
      values4: valueSize / 4,
      rank4: rank / 4,
    });
    this.#rope(block.rope, rotary);
    const queryRank = queryDown?.linear.weight.shape[0] ?? this.#width;
    if (queryDown) this.#linear(queryDown.linear, queryRank, this.#width);
    this.#norm(queryDown?.norm, queryRank);
    this.#linear(block.q, heads * (plain + rotary), queryRank);
    this.#linear(block.keyValue, rank + rotary, this.#width);
    this.#norm(block.keyValueNorm, rank);
    if (keyUp.weight.name === valueUp.weight.name) this.#linear(keyUp, heads * (plain + valueSize), rank);
    else {
      this.#linear(keyUp, heads, rank, plain);
      this.#linear(valueUp, heads, valueSize, rank);
    }
    this.#linear(block.output, this.#width, heads * valueSize);
    this.#must(block.scale > 0, `scale ${block.scale}`);
  }

  #deltaNet(block: DeltaNetBlock): void {
    const { keyHeads, valueHeads, keySize, valueSize, alpha, kernel } = block;
    this.#whole({
      keyHeads,
      valueHeads,
      repeat: valueHeads / keyHeads,
      keys4: keySize / 4,
      values4: valueSize / 4,
    });
    const values = valueHeads * valueSize;
    const channels = 2 * keyHeads * keySize + values;
    const rows = (linears: readonly Linear[]) =>
      linears.reduce((sum, { weight }) => sum + product(weight.shape.slice(0, -1)), 0);
    this.#must(
      rows(block.qkv) === channels && rows([block.gate]) === values,
      "rows of q, k, v and their gate",
    );
    this.#linear(block.beta, alpha ? valueHeads : 2 * valueHeads, this.#width);
    if (alpha) this.#linear(alpha, valueHeads, this.#width);
    const tokens = kernel.shape[1] ?? 0;
    this.#whole({ tokens }, 2);
    this.#vector(kernel, channels, tokens);
    this.#vector(block.decay, valueHeads);
    this.#vector(block.decayBias, valueHeads);
    this.#norm(block.headNorm, valueSize);
    this.#linear(block.output, this.#width, values);
  }

  #feedForward({ base, moe }: FeedForwardBlock): void {
    this.#must(base !== undefined || moe !== undefined, "a block of nothing");
    if (base) this.#expert(base.expert);
    if (base?.gate) this.#linear(base.gate, 1, this.#width);
    if (!moe) return;
    const { experts, table, router } = moe;
    this.#whole({ experts });
    this.#must(
      table.length === 1 && table[0]?.first === 0 && table[0].count === experts,
      "not a spec per expert",
    );
    for (const { spec } of table) this.#expert(spec, experts);
    for (const linear of router.logits.layers) this.#linear(linear, experts, this.#width);
    this.#vector(router.logits.selectionBias, experts);
    const { selection } = router;
    if (selection.rule !== "top-k" && selection.rule !== "group-limited") {
      this.#must(false, selection.rule);
      return;
    }
    const { groups, groupsUsed } = { groups: 1, groupsUsed: 1, ...selection };
    const each = experts / groups;
    this.#whole({ k: selection.k, groups, groupsUsed, each });
    this.#must(
      groupsUsed <= groups && selection.k <= each * groupsUsed,
      `${selection.k} of ${groupsUsed} × ${each}`,
    );
  }

  /** @param stack as many as are stacked */
  #expert(spec: ExpertSpec, ...stack: number[]): void {
    if (spec.kind !== "gated") {
      this.#must(false, spec.kind);
      return;
    }
    const hidden = spec.up.weight.shape.at(-2) ?? 0;
    this.#linear(spec.gate, ...stack, hidden, this.#width);
    this.#linear(spec.up, ...stack, hidden, this.#width);
    this.#linear(spec.down, ...stack, this.#width, hidden);
  }
}
