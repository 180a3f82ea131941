import { test } from "vitest";
import { ABSENT } from "../../src/kernels/route.ts";
import { short_convolution, shortConvolutionState } from "../../src/kernels/short_convolution.ts";
import { columnsOf, convolution, product, siluOf } from "../reference/recurrent.ts";
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
import { normals, seeded } from "../support/random.ts";
import { WeightPage } from "../support/weight_page.ts";

/** A sum of a few products; silu adds an exponential. */
const TOLERANCE = 3e-7;

interface Case {
  readonly channels: number;
  readonly taps: number;
  readonly columns: number;
  readonly at: number;
  readonly gateInAt?: number;
  readonly gateOutAt?: number;
  readonly silu: boolean;
  /** Tokens of each replay. */
  readonly chunks: readonly number[];
}

const delta: Case = { channels: 96, taps: 4, columns: 131, at: 3, silu: true, chunks: [7] };
const gated = { channels: 80, taps: 3, columns: 240, at: 160, gateInAt: 0, gateOutAt: 80, silu: false };

onGpu("short_convolution", (gpu) => {
  function makeCase(changed: Partial<Case>, tokens: number, fault?: GPUBuffer) {
    const shape = { ...delta, ...changed };
    const { channels, taps, columns } = shape;
    const random = seeded(channels + taps);
    const page = new WeightPage(random);
    const weight = normals(random, channels * taps);
    const base = page.floats(weight);
    const x = storage(gpu(), "x", new Float32Array(tokens * columns));
    const state = poisoned(gpu(), "state", shortConvolutionState(channels, taps));
    const y = poisoned(gpu(), "y", tokens * channels);
    const step = short_convolution(gpu(), {
      ...shape,
      weight: { buffer: storage(gpu(), "page", page.bytes()), base, length: weight.length },
      ...{ x, state, y, fault },
    });
    return { shape, weight, x, state, y, step };
  }

  /** What the sequence `input` gives, replayed in chunks with the state that the last one left. */
  async function replayed(
    { shape, x, y, step }: ReturnType<typeof makeCase>,
    input: Float32Array<ArrayBuffer>,
  ) {
    const { channels, columns, chunks } = shape;
    const out: number[] = [];
    let position = 0;
    for (const tokens of chunks) {
      gpu().upload(x, 0, input.slice(position * columns, (position + tokens) * columns));
      await runSteps(gpu(), [step], { position, tokens });
      const words = await downloadWords(gpu(), y);
      out.push(...new Float32Array(words.buffer, 0, tokens * channels));
      position += tokens;
    }
    return out;
  }

  function expected(
    { channels, columns, at, gateInAt, gateOutAt, silu }: Case,
    weight: Float32Array,
    x: Float32Array,
  ) {
    const part = (first: number) => columnsOf(x, columns, first, channels);
    const input = gateInAt === undefined ? part(at) : product(part(at), part(gateInAt));
    const sum = convolution(input, weight, channels);
    const result = silu ? siluOf(sum) : sum;
    return gateOutAt === undefined ? result : product(result, part(gateOutAt));
  }

  async function convolved(changed: Partial<Case>) {
    const { chunks, columns } = { ...delta, ...changed };
    const made = makeCase(changed, Math.max(...chunks));
    const tokens = chunks.reduce((sum, count) => sum + count);
    const random = seeded(tokens);
    // The sequence before this one leaves its state, which must not be seen.
    for (let round = 0; round < 2; round++) {
      const input = normals(random, tokens * columns);
      expectClose(await replayed(made, input), expected(made.shape, made.weight, input), TOLERANCE);
    }
    const { state, y, shape } = made;
    const guard = await downloadWords(gpu(), state);
    expectPoison(guard.subarray(shortConvolutionState(shape.channels, shape.taps)), "past the state");
    await outputFloats(gpu(), y, Math.max(...chunks) * shape.channels);
  }

  test("one replay", () => convolved({}));
  test("one token", () => convolved({ chunks: [1] }));
  test("token by token", () => convolved({ chunks: [1, 1, 1, 1, 1, 1] }));
  test("chunks shorter than the window, and of a tile and one more", () =>
    convolved({ chunks: [2, 1, 3, 16, 17, 2] }));
  test("tiles", () => convolved({ chunks: [40, 33, 1, 48] }));
  test("gates before and after", () => convolved({ ...gated, chunks: [5, 1, 2, 20, 1] }));
  test("a gate before", () => convolved({ ...gated, gateOutAt: undefined as never, chunks: [18, 3] }));
  test("two taps", () => convolved({ taps: 2, chunks: [3, 1, 17] }));
  test("a window as long as a tile", () => convolved({ taps: 17, chunks: [3, 20, 16, 40, 1] }));
  test("a window longer than a tile", () => convolved({ taps: 20, chunks: [3, 20, 19, 40, 1] }));
  test("channels past a workgroup", () => convolved({ channels: 65, chunks: [4, 4] }));

  test("the same bits however it is cut", async () => {
    const input = normals(seeded(5), 40 * delta.columns);
    const whole = await replayed(makeCase({ chunks: [40] }, 40), input);
    for (const chunks of [[16, 16, 8], [1, 38, 1], Array(40).fill(1)]) {
      expectExact(await replayed(makeCase({ chunks }, 40), input), whole);
    }
  });

  test("a stop leaves state and output", async () => {
    const fault = storage(gpu(), "fault", Uint32Array.of(0));
    const { step, state, y } = makeCase({}, 4, fault);
    await runSteps(gpu(), [step], { tokens: 4 });
    for (const buffer of [state, y]) expectPoison(await downloadWords(gpu(), buffer), buffer.label);
    gpu().upload(fault, 0, Uint32Array.of(ABSENT));
    await runSteps(gpu(), [step], { tokens: 4 });
    await outputFloats(gpu(), y, 4 * delta.channels);
    const words = await downloadWords(gpu(), state);
    expectExact(new Float32Array(words.buffer, 0, 3 * delta.channels), new Float32Array(3 * delta.channels));
  });
});
