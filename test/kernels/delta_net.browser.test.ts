import { test } from "vitest";
import { delta_net } from "../../src/kernels/delta_net.ts";
import { ABSENT } from "../../src/kernels/route.ts";
import { columnsOf, deltaNet } from "../reference/recurrent.ts";
import {
  downloadWords,
  expectClose,
  expectExact,
  expectPoison,
  onGpu,
  outputFloats,
  poisoned,
  runSteps,
  storage,
} from "../support/gpu.ts";
import { normals, type Random, seeded } from "../support/random.ts";
import { WeightPage } from "../support/weight_page.ts";

/** Sums over a key, twice, and what earlier tokens left of their own errors. */
const TOLERANCE = 2e-6;
const EPSILON = 1e-5;

interface Case {
  readonly keyHeads: number;
  readonly valueHeads: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly tiled: boolean;
  /** Alpha and beta lie by turns of a key head, beta first, rather than one behind the other. */
  readonly inTurns: boolean;
  /** Of keys and queries: tiny ones make epsilon count. */
  readonly scale: number;
  /** Of all heads, where not random. */
  readonly decay?: number;
  readonly decayBias?: number;
  /** Tokens of each replay. */
  readonly chunks: readonly number[];
}

const plain: Case = {
  keyHeads: 2,
  valueHeads: 4,
  keySize: 32,
  valueSize: 64,
  tiled: false,
  inTurns: false,
  scale: 1,
  chunks: [9],
};

/** Columns of the gates that are something else's. */
const OTHERS = 5;

const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);
const qkvColumns = ({ keyHeads, valueHeads, keySize, valueSize }: Case) =>
  2 * keyHeads * keySize + valueHeads * valueSize;

interface Sequence {
  readonly qkv: Float32Array<ArrayBuffer>;
  /** [tokens, OTHERS + 2 · valueHeads] */
  readonly gates: Float32Array<ArrayBuffer>;
}

onGpu(
  "delta_net",
  (gpu) => {
    function makeCase(changed: Partial<Case>, fault?: GPUBuffer) {
      const shape = { ...plain, ...changed };
      const { keyHeads, valueHeads, keySize, valueSize, chunks, inTurns } = shape;
      const random = seeded(keySize + valueHeads);
      const page = new WeightPage(random);
      const decay = normals(random, valueHeads).map((value) => shape.decay ?? -Math.exp(value));
      const decayBias = normals(random, valueHeads).map((value) => shape.decayBias ?? value);
      const vector = (values: Float32Array) => ({ base: page.floats(values), length: values.length });
      const placed = [vector(decay), vector(decayBias)] as const;
      const buffer = storage(gpu(), "page", page.bytes());
      const most = Math.max(...chunks);
      const columns = OTHERS + 2 * valueHeads;
      const repeat = valueHeads / keyHeads;
      const qkv = storage(gpu(), "qkv", new Float32Array(most * qkvColumns(shape)));
      const gates = storage(gpu(), "gates", new Float32Array(most * columns));
      const state = poisoned(gpu(), "state", valueHeads * keySize * valueSize);
      const out = poisoned(gpu(), "out", most * valueHeads * valueSize);
      const step = delta_net(gpu(), {
        ...shape,
        epsilon: EPSILON,
        decay: { ...placed[0], buffer },
        decayBias: { ...placed[1], buffer },
        gates: {
          ...{ buffer: gates, columns, betaAt: OTHERS, alphaAt: OTHERS + (inTurns ? repeat : valueHeads) },
          run: inTurns ? { heads: repeat, step: 2 * repeat } : undefined,
        },
        ...{ qkv, state, out, fault },
      });
      return { shape, decay, decayBias, qkv, gates, state, out, step };
    }

    type Made = ReturnType<typeof makeCase>;

    /** Keys and queries about `scale`, some of them zero; values and gates about 1 and 2. */
    function makeSequence(shape: Case, random: Random): Sequence {
      const tokens = sum(shape.chunks);
      const columns = qkvColumns(shape);
      const keys = 2 * shape.keyHeads * shape.keySize;
      const qkv = normals(random, tokens * columns).map((value, i) =>
        i % columns < keys ? value * shape.scale : value,
      );
      if (tokens > 2) qkv.fill(0, 2 * columns, 2 * columns + keys);
      return { qkv, gates: normals(random, tokens * (OTHERS + 2 * shape.valueHeads), 2) };
    }

    /** What a sequence gives, replayed in chunks with the state that the last one left. */
    async function replayed(made: Made, sequence: Sequence): Promise<number[]> {
      const { shape, out, step } = made;
      const results: number[] = [];
      let position = 0;
      for (const tokens of shape.chunks) {
        for (const name of ["qkv", "gates"] as const) {
          const columns = sequence[name].length / sum(shape.chunks);
          const rows = sequence[name].slice(position * columns, (position + tokens) * columns);
          gpu().upload(made[name], 0, rows);
        }
        await runSteps(gpu(), [step], { position, tokens });
        const words = await downloadWords(gpu(), out);
        results.push(...new Float32Array(words.buffer, 0, tokens * shape.valueHeads * shape.valueSize));
        position += tokens;
      }
      return results;
    }

    function expected({ shape, decay, decayBias }: Made, { qkv, gates }: Sequence): Float64Array {
      const { keyHeads, valueHeads, inTurns } = shape;
      const all = columnsOf(gates, OTHERS + 2 * valueHeads, OTHERS, 2 * valueHeads);
      const repeat = valueHeads / keyHeads;
      const part = (second: number) =>
        inTurns
          ? all.filter((_, i) => Math.floor(i / repeat) % 2 === second)
          : columnsOf(all, 2 * valueHeads, second * valueHeads, valueHeads);
      return deltaNet(qkv, part(1), part(0), { ...shape, epsilon: EPSILON, decay, decayBias });
    }

    async function corrected(changed: Partial<Case>) {
      const made = makeCase(changed);
      const { chunks, valueHeads, keySize, valueSize } = made.shape;
      const random = seeded(sum(chunks));
      // The sequence before this one leaves its state, which must not be seen.
      for (let round = 0; round < 2; round++) {
        const sequence = makeSequence(made.shape, random);
        expectClose(await replayed(made, sequence), expected(made, sequence), TOLERANCE);
      }
      const state = await downloadWords(gpu(), made.state);
      expectPoison(state.subarray(valueHeads * keySize * valueSize), "past the state");
      await outputFloats(gpu(), made.out, Math.max(...chunks) * valueHeads * valueSize);
    }

    test("one replay, key heads repeated one behind the other", () => corrected({}));
    test("key heads repeated as a whole", () => corrected({ tiled: true }));
    test("three value heads a key head", () => corrected({ keyHeads: 3, valueHeads: 9, chunks: [3, 1] }));
    test("gates by turns of a key head", () => corrected({ inTurns: true, chunks: [4, 2] }));
    test("as many key heads as value heads", () => corrected({ keyHeads: 2, valueHeads: 2, inTurns: true }));
    test("one token", () => corrected({ chunks: [1] }));
    test("token by token", () => corrected({ chunks: [1, 1, 1, 1] }));
    test("chunks", () => corrected({ chunks: [5, 1, 17, 2, 40] }));
    test("heads of 128", () => corrected({ keySize: 128, valueSize: 128, chunks: [6, 1] }));
    test("keys longer than values", () => corrected({ keySize: 64, valueSize: 32, chunks: [3, 3] }));
    test("sizes that are no powers of two", () => corrected({ keySize: 20, valueSize: 12, chunks: [3, 3] }));
    test("keys about as short as epsilon", () => corrected({ scale: 3e-6, chunks: [6] }));
    test("a long sequence", () =>
      corrected({ keyHeads: 1, valueHeads: 2, valueSize: 32, chunks: [256, 200] }));

    test("how fast it forgets, from hardly to nearly all", async () => {
      const alphas = [-14, -8, -3, -1, -0.1, 0, 0.3, 3];
      const heads = alphas.length;
      const shape = { keyHeads: 1, valueHeads: heads, keySize: 32, valueSize: 32, chunks: [2] };
      const made = makeCase({ ...shape, decay: -2, decayBias: 0 });
      const sequence = makeSequence(made.shape, seeded(8));
      // The second token corrects nothing: what it reads is g times what the first one left.
      sequence.gates.fill(-100, OTHERS + 2 * heads + OTHERS, OTHERS + 2 * heads + OTHERS + heads);
      sequence.gates.set(alphas, sequence.gates.length - heads);
      const found = await replayed(made, sequence);
      const wanted = expected(made, sequence);
      for (let head = 0; head < heads; head++) {
        const first = (heads + head) * 32;
        expectClose(found.slice(first, first + 32), wanted.slice(first, first + 32), 1.5e-6);
      }
    });

    test("the same bits however it is cut", async () => {
      const sequence = makeSequence({ ...plain, chunks: [24] }, seeded(4));
      const whole = await replayed(makeCase({ chunks: [24] }), sequence);
      for (const chunks of [[8, 16], [1, 22, 1], Array(24).fill(1)]) {
        expectExact(await replayed(makeCase({ chunks }), sequence), whole);
      }
    });

    test("a stop leaves state and output", async () => {
      const fault = storage(gpu(), "fault", Uint32Array.of(0));
      const made = makeCase({ chunks: [4] }, fault);
      const { step, state, out } = made;
      await runSteps(gpu(), [step], { tokens: 4 });
      for (const buffer of [state, out]) expectPoison(await downloadWords(gpu(), buffer), buffer.label);
      gpu().upload(fault, 0, Uint32Array.of(ABSENT));
      const sequence = makeSequence(made.shape, seeded(3));
      expectClose(await replayed(made, sequence), expected(made, sequence), TOLERANCE);
    });
  },
  true,
);
