import type { Forecast, HorizonOutputs } from "../api.ts";
import { SluiceError } from "../errors.ts";
import type { HorizonHead } from "./plan.ts";
import type { Runner } from "./runner.ts";

/** What of a model forecasts are made with. */
export interface Forecasting {
  readonly runner: Pick<Runner, "cached" | "lastLogits" | "logits">;
  /** Numbers of a point. */
  readonly size: number;
  readonly heads: readonly HorizonHead[];
}

/** Told of the rounds. */
export interface ForecastEvents {
  /** @param reused points before them that the cache held */
  started(points: number, reused: number): void;
  ended(points: number): Promise<void>;
}

/**
 * Says the `steps` points behind a series: round by round one head's, all of which are put behind the series for the next
 * round; the cache holds what ran. The last round's are cut.
 * @param points [points, size]
 */
export async function forecast(
  { runner, size, heads }: Forecasting,
  points: Float32Array,
  { steps, outputs }: { readonly steps: number; readonly outputs: boolean },
  events: ForecastEvents,
  signal: AbortSignal,
): Promise<Forecast> {
  const said = outputs ? byHead(await runner.logits(bitsOf(points), signal), heads, size) : [];
  for (const { values } of said) requireNumbers(values);
  const sequence = Array.from(points);
  const start = points.length;
  const rounds = headsInTurn(heads, steps);
  let ran = 0;
  for (const head of rounds) {
    const words = bitsOf(sequence);
    const from = ran > 0 || size > 1 ? ran : runner.cached.reusable(words);
    const count = words.length / size - from;
    if (ran === 0) events.started(count, from);
    const logits = await runner.lastLogits(words, signal, from);
    const row = firstRow(heads, head, size);
    const next = logits.subarray(row, row + head.steps * size);
    requireNumbers(next);
    await events.ended(count);
    ran = from + count;
    // Not spread: a head may say more numbers than a call takes arguments.
    for (const value of next) sequence.push(value);
  }
  const values = Float32Array.from(sequence.slice(start, start + steps * size));
  return { values, horizons: rounds.map(({ steps }) => steps), outputs: said };
}

/** Positions of the cache that a forecast takes, however long: what the last round says is not run. */
export function positionsNeeded(heads: readonly HorizonHead[], points: number, steps: number): number {
  // As long as more is wanted than any head says, the last one says it.
  const { steps: each } = heads.at(-1) as HorizonHead;
  const longest = heads.reduce((most, { steps }) => Math.max(most, steps), 0);
  const first = each * Math.max(0, Math.floor((steps - longest) / each));
  const rounds = headsInTurn(heads, steps - first);
  return rounds.slice(0, -1).reduce((sum, { steps }) => sum + steps, points + first);
}

/** The head of each round. */
function headsInTurn(heads: readonly HorizonHead[], steps: number): HorizonHead[] {
  const rounds: HorizonHead[] = [];
  for (let left = steps; left > 0; left -= rounds.at(-1)?.steps ?? left) rounds.push(headFor(heads, left));
  return rounds;
}

/** The last before the first that says more than `left`, the first where that is it; as the published code looks for it. */
function headFor(heads: readonly HorizonHead[], left: number): HorizonHead {
  const end = heads.findIndex(({ steps }, i) => i > 0 && steps > left);
  const head = heads[(end === -1 ? heads.length : end) - 1] as HorizonHead;
  return heads.findLast(({ steps }) => steps === head.steps) as HorizonHead;
}

/** Where a head's rows begin in the logits. */
function firstRow(heads: readonly HorizonHead[], head: HorizonHead, size: number): number {
  return heads.slice(0, heads.indexOf(head)).reduce((sum, { steps }) => sum + steps * size, 0);
}

/** @param logits [points, rows of all heads] */
function byHead(logits: Float32Array, heads: readonly HorizonHead[], size: number): HorizonOutputs[] {
  const rows = heads.reduce((sum, { steps }) => sum + steps * size, 0);
  const points = logits.length / rows;
  return heads.map((head) => {
    const [first, count] = [firstRow(heads, head, size), head.steps * size];
    const values = new Float32Array(points * count);
    for (let p = 0; p < points; p++) {
      values.set(logits.subarray(p * rows + first, p * rows + first + count), p * count);
    }
    return { steps: head.steps, values };
  });
}

/** The sequence as the programs' words. */
function bitsOf(points: ArrayLike<number>): number[] {
  return [...new Uint32Array(Float32Array.from(points).buffer)];
}

function requireNumbers(values: Float32Array): void {
  if (values.every(Number.isFinite)) return;
  throw new SluiceError("bad-model-file", "what the model forecasts are not numbers", {
    remedy: "Standardise the series if its numbers are large; else download the model again.",
  });
}
