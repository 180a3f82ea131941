import { describe, expect, test } from "vitest";
import { next_gate } from "../../src/kernels/next_gate.ts";
import { gateBytes, pack_gate } from "../../src/kernels/pack_gate.ts";
import { ABSENT, DAMAGED } from "../../src/kernels/route.ts";
import { matmul, rmsnorm } from "../reference/index.ts";
import {
  expectClose,
  expectPoison,
  onGpu,
  outputWords,
  poisoned,
  runSteps,
  storage,
} from "../support/gpu.ts";
import { normals, type Random, seeded } from "../support/random.ts";
import { randomBlocks, WeightPage } from "../support/weight_page.ts";
import { HALF_TOLERANCE, rowsOf } from "./gates.ts";

/** A dot of a few hundred terms in f32. */
const TOLERANCE = 5e-7;
const EPSILON = 1e-5;

interface Case {
  readonly experts: number;
  readonly cols: number;
  readonly sites: number;
  readonly firstSite?: number;
  readonly lookahead: number;
  readonly kind?: "rms" | "layer" | "none";
  readonly source: number | "fault";
  /** The fault word. */
  readonly fault?: number;
}

/** What routers are asked with behind a norm without weights. */
function normed(x: Float32Array<ArrayBuffer>, kind: Case["kind"]): ArrayLike<number> {
  if (kind === "none") return x;
  const mean = kind === "layer" ? x.reduce((sum, value) => sum + value, 0) / x.length : 0;
  return rmsnorm(
    Float64Array.from(x, (value) => value - mean),
    new Float32Array(x.length).fill(1),
    EPSILON,
  );
}

/** Gates of random halves, and the floats they are. */
function randomGates(random: Random, { sites, experts, cols }: Case) {
  const bytes = randomBlocks(random, "F16", sites * experts * cols);
  return { bytes, values: rowsOf(new Uint32Array(bytes.buffer), experts, cols) };
}

onGpu("next_gate", (gpu) => {
  /** Checks the logits of each target; gives back which targets, counted from the source, were written. */
  async function asked(args: Case): Promise<number[]> {
    const { experts, cols, sites, firstSite = 0, lookahead, kind, source, fault = ABSENT } = args;
    const random = seeded(experts + cols);
    const { bytes, values } = randomGates(random, args);
    const offCentre = kind === "layer" ? 5 : 0;
    const x = normals(random, 2 * cols, 3)
      .map((value) => value + offCentre)
      .fill(Number.NaN, cols);
    // The logits lie behind another's.
    const offset = gpu().device.limits.minStorageBufferOffsetAlignment;
    const count = lookahead * experts;
    const buffer = poisoned(gpu(), "logits", offset / 4 + count);
    const step = next_gate(gpu(), {
      ...{ experts, cols, sites, firstSite, lookahead, kind, source, epsilon: EPSILON },
      gates: storage(gpu(), "gates", bytes),
      fault: storage(gpu(), "fault", Uint32Array.of(fault)),
      x: storage(gpu(), "x", x),
      logits: { buffer, offset, size: 4 * count },
    });
    await runSteps(gpu(), [step], { tokens: 2 });
    const words = await outputWords(gpu(), buffer, offset / 4 + count);
    expectPoison(words.subarray(0, offset / 4), "logits of another source");
    const input = normed(x.slice(0, cols), kind);
    const at = source === "fault" ? (fault === ABSENT ? -1 : fault) : source;
    return Array.from({ length: lookahead }, (_, d) => d).filter((d) => {
      const row = words.slice(offset / 4 + d * experts, offset / 4 + (d + 1) * experts);
      if (row.every((word) => word === words[0])) return false;
      const site = at + 1 + d - firstSite;
      const gate = values.subarray(site * experts * cols, (site + 1) * experts * cols);
      const expected = matmul(input, { values: gate, rows: experts, cols });
      // A mean taken off afterwards costs what it is larger than the deviation from it.
      expectClose(new Float32Array(row.buffer), expected, kind === "layer" ? 4 * TOLERANCE : TOLERANCE);
      return true;
    });
  }

  const shape = { experts: 20, cols: 96, sites: 5, lookahead: 3 };

  test.each([
    { experts: 60, cols: 256 },
    { experts: 64, cols: 128 },
    { experts: 130, cols: 512 },
    { experts: 3, cols: 32 },
  ])("$experts experts, $cols columns", async (size) => {
    expect(await asked({ ...size, sites: 3, lookahead: 2, source: 0 })).toEqual([0, 1]);
  });

  test.each(["layer", "none"] as const)("behind %s", async (kind) => {
    for (const size of [
      { experts: 60, cols: 256 },
      { experts: 3, cols: 32 },
      { experts: 130, cols: 512 },
    ]) {
      expect(await asked({ ...size, sites: 3, lookahead: 2, source: 0, kind })).toEqual([0, 1]);
    }
  });

  test("a stream that is everywhere the same, behind a layer norm", async () => {
    const [experts, cols] = [4, 64];
    const { bytes } = randomGates(seeded(1), { ...shape, experts, cols, source: 0 });
    const logits = poisoned(gpu(), "logits", experts);
    const ask = next_gate(gpu(), {
      ...{ experts, cols, sites: 5, firstSite: 0, lookahead: 1, kind: "layer", epsilon: EPSILON, source: 0 },
      gates: storage(gpu(), "gates", bytes),
      fault: storage(gpu(), "fault", Uint32Array.of(ABSENT)),
      x: storage(gpu(), "x", new Float32Array(cols).fill(3)),
      logits,
    });
    await runSteps(gpu(), [ask], {});
    const found = new Float32Array((await outputWords(gpu(), logits, experts)).buffer);
    for (const value of found) expect(Math.abs(value)).toBeLessThan(0.1);
  });

  describe.each([
    ["known", (site: number) => ({ source: site })],
    ["in the fault word", (site: number) => ({ source: "fault", fault: site }) as const],
  ])("a source %s", (_, sourceAt) => {
    test.each([
      { site: 0, targets: [0, 1, 2] },
      { site: 1, targets: [0, 1, 2] },
      { site: 2, targets: [0, 1] },
      { site: 4, targets: [] },
      { site: 9, targets: [] },
    ])("site $site of 5", async ({ site, targets }) => {
      expect(await asked({ ...shape, ...sourceAt(site) })).toEqual(targets);
    });

    test.each([
      { site: 0, targets: [] },
      { site: 5, targets: [2] },
      { site: 6, targets: [1, 2] },
      { site: 7, targets: [0, 1, 2] },
      { site: 10, targets: [0, 1] },
      { site: 12, targets: [] },
    ])("site $site, sites 8 to 12 in the buffer", async ({ site, targets }) => {
      expect(await asked({ ...shape, firstSite: 8, ...sourceAt(site) })).toEqual(targets);
    });

    test("fewer sites than are asked, in the middle", async () => {
      expect(await asked({ ...shape, sites: 1, lookahead: 4, firstSite: 8, ...sourceAt(5) })).toEqual([2]);
    });
  });

  test("before the first site", async () => {
    expect(await asked({ ...shape, source: -1 })).toEqual([0, 1, 2]);
    expect(await asked({ ...shape, source: "fault", fault: ABSENT })).toEqual([0, 1, 2]);
    expect(await asked({ ...shape, source: "fault", fault: ABSENT, firstSite: 2 })).toEqual([2]);
  });

  test("a known source stops at a fault", async () => {
    for (const fault of [0, 3, DAMAGED]) expect(await asked({ ...shape, source: 1, fault })).toEqual([]);
  });

  test("damage asks nothing", async () => {
    for (const firstSite of [0, 1]) {
      expect(await asked({ ...shape, source: "fault", fault: DAMAGED, firstSite })).toEqual([]);
    }
  });

  test("known sources between the ends share a pipeline", async () => {
    const args = {
      ...{ experts: 8, cols: 64, sites: 6, firstSite: 0, lookahead: 2, epsilon: EPSILON },
      gates: storage(gpu(), "gates", new Uint8Array(6 * gateBytes(8, 64))),
      fault: storage(gpu(), "fault", Uint32Array.of(ABSENT)),
      x: storage(gpu(), "x", new Float32Array(64)),
      logits: poisoned(gpu(), "logits", 16),
    };
    const kernels = [-1, 0, 2, 3].map((source) => next_gate(gpu(), { ...args, source }).kernel);
    expect(new Set(kernels).size).toBe(1);
    await gpu().ready();
  });

  test.each([
    ["F32", "rms"],
    ["Q8_0", "rms"],
    ["F32", "layer"],
    ["Q8_0", "none"],
  ] as const)("a %s router as its norm (%s) and its matrix give them", async (type, kind) => {
    const [experts, cols] = [60, 256];
    const random = seeded(5);
    const page = new WeightPage(random);
    const weights = normals(random, cols);
    const base = page.floats(weights);
    const routers = [0, 1].map(() => page.matrix(type, experts, cols));
    const buffer = storage(gpu(), "page", page.bytes());
    const gates = storage(gpu(), "gates", new Uint8Array(2 * gateBytes(experts, cols)));
    const x = normals(random, cols, 5);
    const logits = poisoned(gpu(), "logits", 2 * experts);
    const packs = routers.flatMap((placed, site) => {
      const router = [{ buffer, type, base: placed.base, rows: experts, cols }];
      const norm = kind === "none" ? undefined : { buffer, base, length: cols };
      return pack_gate(gpu(), { router, norm, gates, site, experts });
    });
    const ask = next_gate(gpu(), {
      ...{ gates, firstSite: 0, sites: 2, experts, cols, lookahead: 2, kind, epsilon: EPSILON },
      ...{ source: -1, logits },
      fault: storage(gpu(), "fault", Uint32Array.of(ABSENT)),
      x: storage(gpu(), "x", x),
    });
    await runSteps(gpu(), [...packs, ask], {});
    const input = Float64Array.from(normed(x, kind), (value, c) => {
      return kind === "none" ? value : value * (weights[c] as number);
    });
    const expected = routers.flatMap(({ values }) =>
      Array.from(matmul(input, { values, rows: experts, cols })),
    );
    const words = await outputWords(gpu(), logits, 2 * experts);
    expectClose(new Float32Array(words.buffer), expected, HALF_TOLERANCE);
  });
});
