import { expect, test } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import type { ParamValues } from "../../src/gpu/params.ts";
import type { Step } from "../../src/gpu/program.ts";
import { adjust_logits } from "../../src/kernels/adjust_logits.ts";
import { attention } from "../../src/kernels/attention.ts";
import { combine } from "../../src/kernels/combine.ts";
import { cosine_gate } from "../../src/kernels/cosine_gate.ts";
import { delta_net } from "../../src/kernels/delta_net.ts";
import { delta_net_norm } from "../../src/kernels/delta_net_norm.ts";
import { embed } from "../../src/kernels/embed.ts";
import { embed_series } from "../../src/kernels/embed_series.ts";
import { expert_down } from "../../src/kernels/expert_down.ts";
import { expert_gate_up } from "../../src/kernels/expert_gate_up.ts";
import { expert_up } from "../../src/kernels/expert_up.ts";
import { gate_heads } from "../../src/kernels/gate_heads.ts";
import { glu } from "../../src/kernels/glu.ts";
import { group, maxTiles } from "../../src/kernels/group.ts";
import { head_matmul } from "../../src/kernels/head_matmul.ts";
import { head_matmul_transposed } from "../../src/kernels/head_matmul_transposed.ts";
import { latent_attention } from "../../src/kernels/latent_attention.ts";
import { latent_kv } from "../../src/kernels/latent_kv.ts";
import { logprobs } from "../../src/kernels/logprobs.ts";
import { matmul } from "../../src/kernels/matmul.ts";
import type { PageMatrix } from "../../src/kernels/matrix.ts";
import { momentum } from "../../src/kernels/momentum.ts";
import { product_key_mix } from "../../src/kernels/product_key_mix.ts";
import { product_key_route } from "../../src/kernels/product_key_route.ts";
import { product_key_sum } from "../../src/kernels/product_key_sum.ts";
import { recurrent_cell } from "../../src/kernels/recurrent_cell.ts";
import { request_logits } from "../../src/kernels/request_logits.ts";
import { residual_mix } from "../../src/kernels/residual_mix.ts";
import { rmsnorm } from "../../src/kernels/rmsnorm.ts";
import { rope_kv } from "../../src/kernels/rope_kv.ts";
import { ABSENT, DAMAGED } from "../../src/kernels/route.ts";
import { sample } from "../../src/kernels/sample.ts";
import { short_convolution } from "../../src/kernels/short_convolution.ts";
import { small_matmul } from "../../src/kernels/small_matmul.ts";
import { soft_mixture } from "../../src/kernels/soft_mixture.ts";
import { stick_breaking_attention } from "../../src/kernels/stick_breaking_attention.ts";
import { task_input } from "../../src/kernels/task_input.ts";
import { tree_gate } from "../../src/kernels/tree_gate.ts";
import { downloadWords, guarded, onGpu, poisoned, runSteps, storage } from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";
import { WeightPage } from "../support/weight_page.ts";
import { makePool, type PoolSpec, pairArgs } from "./expert_pool.ts";
import { packRoutes, randomExperts, routeSets } from "./routes.ts";

/** A kernel with small inputs, the same at every call, and all buffers it may write. */
interface Run {
  readonly steps: readonly Step[];
  readonly outputs: readonly GPUBuffer[];
  readonly params?: Partial<ParamValues>;
}

const TOKENS = 3;
const COLS = 64;
const TOP_K = 2;
const EXPERTS = 4;

const floats = (gpu: Gpu, label: string, count: number) => storage(gpu, label, normals(seeded(count), count));

function matrix(gpu: Gpu, rows: number, cols: number) {
  const page = new WeightPage(seeded(rows));
  const { type, base } = page.matrix("F32", rows, cols);
  return { buffer: storage(gpu, "page", page.bytes()), type, base, rows, cols };
}

function routesOf(slotOf = (expert: number) => expert) {
  const random = seeded(1);
  return routeSets(random, TOP_K, randomExperts(random, TOKENS, TOP_K, EXPERTS), slotOf);
}

function expertArgs(gpu: Gpu, matrices: PoolSpec["matrices"], tile: number | undefined) {
  const spec = { experts: EXPERTS, absent: [], segments: [EXPERTS], matrices, isScaled: false };
  const { pageBytes, segments, matrices: placed, slotOf } = makePool(gpu, seeded(2), spec);
  const [segment] = segments;
  if (!segment) throw new Error("no segment");
  return { ...pairArgs(gpu, routesOf(slotOf), EXPERTS, tile), pageBytes, segment, placed };
}

function gateUp(gpu: Gpu, fault: GPUBuffer | undefined, tile?: number): Run {
  const shape = { type: "F32", rows: 40, cols: COLS } as const;
  const { placed, ...args } = expertArgs(gpu, [shape, shape], tile);
  const [gate, up] = placed as [PageMatrix, PageMatrix];
  const hidden = poisoned(gpu, "hidden", TOKENS * TOP_K * shape.rows);
  const x = floats(gpu, "x", TOKENS * COLS);
  return { steps: [expert_gate_up(gpu, { ...args, gate, up, x, hidden, fault })], outputs: [hidden] };
}

function up(gpu: Gpu, fault: GPUBuffer | undefined, tile?: number): Run {
  const { placed, ...args } = expertArgs(gpu, [{ type: "F32", rows: 40, cols: COLS }], tile);
  const hidden = poisoned(gpu, "hidden", TOKENS * TOP_K * 40);
  const x = floats(gpu, "x", TOKENS * COLS);
  return {
    steps: [expert_up(gpu, { ...args, up: placed[0] as PageMatrix, x, hidden, fault })],
    outputs: [hidden],
  };
}

function down(gpu: Gpu, fault: GPUBuffer | undefined, tile?: number): Run {
  const { placed, ...args } = expertArgs(gpu, [{ type: "F32", rows: 40, cols: COLS }], tile);
  const rows = poisoned(gpu, "rows", TOKENS * TOP_K * 40);
  const hidden = floats(gpu, "hidden", TOKENS * TOP_K * COLS);
  const step = expert_down(gpu, { ...args, down: placed[0] as PageMatrix, hidden, rows, fault });
  return { steps: [step], outputs: [rows] };
}

function product(gpu: Gpu, fault: GPUBuffer | undefined, tile: number, tokens: number): Run {
  const y = guarded(gpu, "y", normals(seeded(3), TOKENS * 70));
  const args = { matrices: [matrix(gpu, 70, COLS)], x: floats(gpu, "x", 4 * COLS), y, tile, add: true };
  return { steps: matmul(gpu, { ...args, fault }), outputs: [y], params: { tokens } };
}

const vector = (gpu: Gpu, length: number) => ({ buffer: floats(gpu, "page", length), base: 0, length });

/** Two heads of 32 by 32. */
function heads(gpu: Gpu, fault: GPUBuffer | undefined, kernel: typeof head_matmul): Run {
  const y = poisoned(gpu, "y", TOKENS * 64);
  const to = { buffer: y, row: 64, each: 32 };
  const from = { buffer: floats(gpu, "x", 4 * 64), row: 64, each: 32 };
  const args = { matrices: [matrix(gpu, 64, 32)], rows: 32, x: from, y: to, tile: 2 };
  return { steps: kernel(gpu, { ...args, fault }), outputs: [y] };
}

/** By the kernel's stem and what tells its cases apart. */
const kernels: Record<string, (gpu: Gpu, fault: GPUBuffer | undefined) => Run> = {
  embed: (gpu, fault) => {
    const x = poisoned(gpu, "x", TOKENS * COLS);
    const tokens = storage(gpu, "tokens", Uint32Array.of(4, 0, 2, 1));
    return { steps: embed(gpu, { table: [matrix(gpu, 5, COLS)], tokens, x, scale: 1, fault }), outputs: [x] };
  },
  residual_mix: (gpu, fault) => {
    const y = poisoned(gpu, "y", TOKENS * COLS);
    const [a, b] = [floats(gpu, "a", TOKENS * COLS), floats(gpu, "b", TOKENS * COLS)];
    const args = { cols: COLS, z: floats(gpu, "z", 2 * TOKENS), a, b, y, add: false, scale: 1, fault };
    return { steps: [residual_mix(gpu, args)], outputs: [y] };
  },
  embed_series: (gpu, fault) => {
    const x = poisoned(gpu, "x", TOKENS * COLS);
    const [gate, value] = [vector(gpu, COLS), vector(gpu, COLS)];
    const args = {
      size: 1,
      activation: "silu",
      gate,
      value,
      points: floats(gpu, "points", TOKENS + 1),
    } as const;
    return { steps: [embed_series(gpu, { ...args, x, fault })], outputs: [x] };
  },
  rmsnorm: (gpu, fault) => {
    const y = poisoned(gpu, "y", TOKENS * COLS);
    const weight = { buffer: floats(gpu, "page", COLS), base: 0, length: COLS };
    const x = floats(gpu, "x", TOKENS * COLS);
    return { steps: [rmsnorm(gpu, { weight, epsilon: 1e-5, x, y, fault })], outputs: [y] };
  },
  "matmul of one token": (gpu, fault) => product(gpu, fault, 1, 1),
  "matmul of several": (gpu, fault) => product(gpu, fault, 2, TOKENS),
  small_matmul: (gpu, fault) => {
    const y = guarded(gpu, "y", normals(seeded(4), TOKENS * 12));
    const matrices = [{ matrix: vector(gpu, 12 * 10) }];
    const args = { matrices, cols: 10, add: true, x: floats(gpu, "x", TOKENS * 10), y };
    return { steps: small_matmul(gpu, { ...args, fault }), outputs: [y] };
  },
  rope_kv: (gpu, fault) => {
    const shape = { heads: 2, kvHeads: 1, headSize: 32, rotary: 32, interleaved: false, context: 8 };
    const norm = { buffer: floats(gpu, "page", 32), base: 0, length: 32 };
    const outputs = {
      q: poisoned(gpu, "q", TOKENS * 64),
      keys: poisoned(gpu, "keys", 8 * 32),
      values: poisoned(gpu, "values", 8 * 32),
    };
    const inputs = { qkv: floats(gpu, "qkv", TOKENS * 128), table: floats(gpu, "table", 8 * 32) };
    const args = { ...shape, ...inputs, ...outputs, normQ: norm, normK: norm, epsilon: 1e-5, fault };
    return { steps: [rope_kv(gpu, args)], outputs: Object.values(outputs) };
  },
  attention: (gpu, fault) => {
    const out = poisoned(gpu, "out", TOKENS * 64);
    const [q, keys, values] = [
      floats(gpu, "q", 4 * 64),
      floats(gpu, "keys", 8 * 32),
      floats(gpu, "values", 8 * 32),
    ];
    const shape = { heads: 2, kvHeads: 1, headSize: 32, context: 8, scale: 0.2, tile: 2 };
    return { steps: [attention(gpu, { ...shape, q, keys, values, out, fault })], outputs: [out] };
  },
  stick_breaking_attention: (gpu, fault) => {
    const out = poisoned(gpu, "out", TOKENS * TOP_K * 64);
    const [q, keys, values] = [
      floats(gpu, "q", 4 * TOP_K * 64),
      floats(gpu, "keys", 8 * 64),
      floats(gpu, "values", 8 * 64),
    ];
    const { routes } = pairArgs(gpu, routesOf(), EXPERTS, undefined);
    const shape = { heads: 2, headSize: 32, topK: TOP_K, context: 8, scale: 0.2, tile: 2 };
    const args = { ...shape, q, keys, values, routes, out, fault };
    return { steps: [stick_breaking_attention(gpu, args)], outputs: [out] };
  },
  soft_mixture: (gpu, fault) => {
    const x = guarded(gpu, "x", normals(seeded(4), TOKENS * COLS));
    const rows = floats(gpu, "rows", TOKENS * EXPERTS * COLS);
    const logits = { buffer: floats(gpu, "logits", TOKENS * EXPERTS), row: EXPERTS, first: 0 };
    const args = { experts: EXPERTS, cols: COLS, logits, rows, x, fault };
    return { steps: [soft_mixture(gpu, args)], outputs: [x] };
  },
  cosine_gate: (gpu, fault) => {
    const logits = poisoned(gpu, "logits", TOKENS * EXPERTS);
    const [z, centroids] = [floats(gpu, "z", TOKENS * 32), vector(gpu, EXPERTS * 32)];
    const args = { experts: EXPERTS, cols: 32, factor: 1, least: 0, z, centroids, logits, fault };
    return { steps: [cosine_gate(gpu, args)], outputs: [logits] };
  },
  gate_heads: (gpu, fault) => {
    const attended = guarded(gpu, "attended", normals(seeded(5), TOKENS * 64));
    const shape = { heads: 2, size: 32, columns: 64, at: 0, step: 32 };
    const source = floats(gpu, "gates", TOKENS * 64);
    return { steps: [gate_heads(gpu, { ...shape, source, attended, fault })], outputs: [attended] };
  },
  latent_kv: (gpu, fault) => {
    const outputs = { queries: poisoned(gpu, "queries", TOKENS * 96), cache: poisoned(gpu, "cache", 8 * 48) };
    const inputs = {
      norm: vector(gpu, 32),
      kv: { buffer: floats(gpu, "kv", TOKENS * 48), row: 48 },
      q: { buffer: floats(gpu, "q", TOKENS * 96), row: 96, each: 48, first: 32 },
      table: floats(gpu, "table", 8 * 16),
    };
    const shape = { heads: 2, rotary: 16, interleaved: true, epsilon: 1e-5 };
    const steps = [latent_kv(gpu, { ...shape, ...inputs, ...outputs, fault })];
    return { steps, outputs: Object.values(outputs) };
  },
  latent_attention: (gpu, fault) => {
    const out = poisoned(gpu, "out", TOKENS * 64);
    const inputs = { queries: floats(gpu, "queries", TOKENS * 96), cache: floats(gpu, "cache", 8 * 48) };
    const shape = { heads: 2, rank: 32, rotary: 16, scale: 0.2, tile: 2 };
    return { steps: [latent_attention(gpu, { ...shape, ...inputs, out, fault })], outputs: [out] };
  },
  head_matmul: (gpu, fault) => heads(gpu, fault, head_matmul),
  head_matmul_transposed: (gpu, fault) => heads(gpu, fault, head_matmul_transposed),
  short_convolution: (gpu, fault) => {
    const outputs = {
      state: guarded(gpu, "state", normals(seeded(6), 3 * 32)),
      y: poisoned(gpu, "y", TOKENS * 32),
    };
    const inputs = { weight: vector(gpu, 4 * 32), x: floats(gpu, "x", TOKENS * 32) };
    const step = short_convolution(gpu, { channels: 32, columns: 32, at: 0, ...inputs, ...outputs, fault });
    return { steps: [step], outputs: Object.values(outputs) };
  },
  delta_net: (gpu, fault) => {
    const outputs = {
      state: guarded(gpu, "state", normals(seeded(7), 2 * 16 * 16)),
      out: poisoned(gpu, "out", TOKENS * 32),
    };
    const inputs = {
      ...{ decay: vector(gpu, 4), decayBias: vector(gpu, 4), qkv: floats(gpu, "qkv", TOKENS * 64) },
      gates: { buffer: floats(gpu, "gates", TOKENS * 4), columns: 4, alphaAt: 0, betaAt: 2 },
    };
    const shape = { keyHeads: 1, valueHeads: 2, keySize: 16, valueSize: 16, tiled: false, epsilon: 1e-5 };
    const steps = [delta_net(gpu, { ...shape, ...inputs, ...outputs, fault })];
    return { steps, outputs: Object.values(outputs) };
  },
  delta_net_norm: (gpu, fault) => {
    const x = guarded(gpu, "x", normals(seeded(8), TOKENS * 32));
    const gate = { buffer: floats(gpu, "gate", TOKENS * 32), columns: 32, at: 0 };
    const args = { heads: 2, weight: vector(gpu, 16), epsilon: 1e-5, gate, x };
    return { steps: [delta_net_norm(gpu, { ...args, fault })], outputs: [x] };
  },
  recurrent_cell: (gpu, fault) => {
    const state = guarded(gpu, "state", normals(seeded(9), TOKENS * 32));
    const inputs = { fromInput: floats(gpu, "i", TOKENS * 96), fromState: floats(gpu, "h", TOKENS * 96) };
    const args = { kind: "gru", size: 32, isStart: false, ...inputs, state } as const;
    return { steps: [recurrent_cell(gpu, { ...args, fault })], outputs: [state] };
  },
  momentum: (gpu, fault) => {
    const [branch, velocity, x] = [11, 12, 13].map((seed) =>
      guarded(gpu, "x", normals(seeded(seed), TOKENS * COLS)),
    ) as [GPUBuffer, GPUBuffer, GPUBuffer];
    const args = { cols: COLS, factor: 0.7, step: 1, isStart: false, branch, velocity, x };
    return { steps: [momentum(gpu, { ...args, fault })], outputs: [velocity, x] };
  },
  request_logits: (gpu, fault) => {
    const logits = poisoned(gpu, "logits", TOKENS * EXPERTS);
    const request = storage(gpu, "request", Uint32Array.of(1, 0, 5));
    const args = { by: { rule: "given" }, experts: EXPERTS, request, logits, fault } as const;
    return { steps: [request_logits(gpu, args)], outputs: [logits] };
  },
  task_input: (gpu, fault) => {
    const y = poisoned(gpu, "y", TOKENS * (COLS + 32));
    const request = storage(gpu, "request", Uint32Array.of(1, 0, 5));
    const inputs = { embedding: vector(gpu, 32), request, x: floats(gpu, "x", TOKENS * COLS) };
    return { steps: [task_input(gpu, { cols: COLS, size: 32, ...inputs, y, fault })], outputs: [y] };
  },
  tree_gate: (gpu, fault) => {
    const weights = poisoned(gpu, "weights", TOKENS * EXPERTS);
    const products = floats(gpu, "products", TOKENS * 2 * (2 * EXPERTS - 1));
    const args = { experts: EXPERTS, trees: 2, gamma: 1, products, weights };
    return { steps: [tree_gate(gpu, { ...args, fault })], outputs: [weights] };
  },
  product_key_route: (gpu, fault) => {
    const weights = poisoned(gpu, "weights", TOKENS * 2 * 2 * 8);
    const axis = { mean: vector(gpu, 4), variance: vector(gpu, 4) };
    const shape = { heads: 2, keys: 8, statistics: [axis, axis], epsilon: 3, least: 0 } as const;
    const scores = floats(gpu, "scores", TOKENS * 2 * 2 * 8);
    return { steps: [product_key_route(gpu, { ...shape, scores, weights, fault })], outputs: [weights] };
  },
  product_key_mix: (gpu, fault) => {
    const mixed = poisoned(gpu, "mixed", TOKENS * (4 * 8 * 4 + 2 * 8));
    const inputs = {
      weights: floats(gpu, "weights", TOKENS * 2 * 2 * 8),
      hidden: floats(gpu, "hidden", TOKENS * 2 * 8 * 4),
    };
    const shape = { heads: 2, keys: 8, units: 4, decompose: "vertical", single: false } as const;
    return { steps: [product_key_mix(gpu, { ...shape, ...inputs, mixed, fault })], outputs: [mixed] };
  },
  product_key_sum: (gpu, fault) => {
    const y = guarded(gpu, "y", normals(seeded(10), TOKENS * COLS));
    const inputs = {
      products: floats(gpu, "products", TOKENS * COLS),
      mixed: floats(gpu, "mixed", TOKENS * (8 * 4 + 8)),
      biases: [vector(gpu, 8 * COLS)],
    };
    const shape = { keys: 8, units: 4, decompose: "horizontal", cols: COLS, add: true, scale: 1 } as const;
    return { steps: [product_key_sum(gpu, { ...shape, ...inputs, y, fault })], outputs: [y] };
  },
  glu: (gpu, fault) => {
    const h = poisoned(gpu, "h", TOKENS * 32);
    const gu = floats(gpu, "gu", TOKENS * 65);
    return { steps: [glu(gpu, { rows: 32, gated: true, gu, h, fault })], outputs: [h] };
  },
  group: (gpu, fault) => {
    const routes = routesOf();
    const outputs = {
      tiles: poisoned(gpu, "tiles", 3 * maxTiles(TOKENS, TOP_K, EXPERTS, 2)),
      pairs: poisoned(gpu, "pairs", TOKENS * TOP_K),
    };
    const inputs = {
      routes: storage(gpu, "routes", packRoutes(routes)),
      counts: storage(gpu, "counts", routes.counts),
    };
    const shape = { experts: EXPERTS, topK: TOP_K, tile: 2, maxTokens: TOKENS };
    const steps = [group(gpu, { ...shape, ...inputs, ...outputs, fault })];
    return { steps, outputs: Object.values(outputs) };
  },
  "expert_gate_up pair by pair": gateUp,
  "expert_gate_up grouped": (gpu, fault) => gateUp(gpu, fault, 2),
  "expert_up pair by pair": up,
  "expert_up grouped": (gpu, fault) => up(gpu, fault, 2),
  "expert_down pair by pair": down,
  "expert_down grouped": (gpu, fault) => down(gpu, fault, 2),
  combine: (gpu, fault) => {
    const x = guarded(gpu, "x", normals(seeded(4), TOKENS * COLS));
    const routes = routesOf();
    const inputs = {
      rows: floats(gpu, "rows", TOKENS * TOP_K * COLS),
      routes: storage(gpu, "routes", packRoutes(routes)),
      counts: storage(gpu, "counts", routes.counts),
    };
    return { steps: [combine(gpu, { cols: COLS, topK: TOP_K, ...inputs, x, fault })], outputs: [x] };
  },
  adjust_logits: (gpu, fault) => {
    const outputs = {
      seen: guarded(gpu, "seen", new Uint32Array(300)),
      adjusted: poisoned(gpu, "adjusted", 300),
    };
    const inputs = {
      logits: floats(gpu, "logits", 300),
      tokens: storage(gpu, "tokens", Uint32Array.of(7)),
      bias: floats(gpu, "bias", 300),
      allowed: storage(gpu, "allowed", new Uint32Array(10).fill(0xaaaaaaaa)),
    };
    const step = adjust_logits(gpu, { vocabulary: 300, ...inputs, ...outputs, fault });
    return { steps: [step], outputs: Object.values(outputs), params: { frequency_penalty: 1 } };
  },
  logprobs: (gpu, fault) => {
    const record = poisoned(gpu, "record", 7);
    const inputs = {
      logits: floats(gpu, "logits", 300),
      tokens: storage(gpu, "tokens", Uint32Array.of(0, 7)),
    };
    const step = logprobs(gpu, { vocabulary: 300, ...inputs, record, fault });
    return { steps: [step], outputs: [record], params: { top_logprobs: 3 } };
  },
  sample: (gpu, fault) => {
    const tokens = poisoned(gpu, "tokens", 4);
    const logits = floats(gpu, "logits", 300);
    const params = { temperature: 0.7, top_k: 20, top_p: 0.9, min_p: 0.01 };
    return { steps: [sample(gpu, { vocabulary: 300, logits, tokens, fault })], outputs: [tokens], params };
  },
};

/** `route` writes the fault word; the gates' kernels have tests of their own. */
const exempt = ["next_gate", "pack_gate", "route"];

test("every kernel that must stop is here", () => {
  const stems = Object.keys(import.meta.glob("../../shaders/*.wgsl")).map((path) =>
    path.replace(/^.*\/(.*)\.wgsl$/, "$1"),
  );
  const here = new Set(Object.keys(kernels).map((name) => name.replace(/ .*/, "")));
  expect([...here].sort()).toEqual(stems.filter((stem) => !exempt.includes(stem)).sort());
});

onGpu(
  "fault",
  (gpu) => {
    const contents = (buffers: readonly GPUBuffer[]) =>
      Promise.all(buffers.map((buffer) => downloadWords(gpu(), buffer)));

    test.each(Object.entries(kernels))("%s", async (_, make) => {
      /** What the outputs hold before and after a run with this fault word. */
      const run = async (word: number | undefined) => {
        const fault = word === undefined ? undefined : storage(gpu(), "fault", Uint32Array.of(word));
        const { steps, outputs, params } = make(gpu(), fault);
        const before = await contents(outputs);
        await runSteps(gpu(), steps, params ?? { tokens: TOKENS });
        return { before, after: await contents(outputs) };
      };
      const usual = await run(undefined);
      usual.after.forEach((words, i) => {
        expect(words).not.toEqual(usual.before[i]);
      });
      expect((await run(ABSENT)).after).toEqual(usual.after);
      for (const word of [0, 7, DAMAGED]) {
        const { before, after } = await run(word);
        expect(after).toEqual(before);
      }
    });
  },
  true,
);
