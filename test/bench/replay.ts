/**
 * `npm run replay -- [FILE] [--slots 25,50]`: what the routes of a trace (`--trace FILE` records one) would have cost
 * with every policy, predictor and pool size, as Markdown tables. No GPU. Without FILE: the tiny model's recorded
 * stories, then a synthetic trace with many experts. With `--layout`: how many reads pages take that lie together on disk
 * because they are used together.
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { parseArgs } from "node:util";
import { formatBytes, threeDigits } from "../../demo/format.ts";
import type { CapacityPlan } from "../../src/api.ts";
import { beladyLoads } from "../../src/experts/belady.ts";
import { shareSlots } from "../../src/experts/capacity.ts";
import { DEFAULTS } from "../../src/experts/defaults.ts";
import { POLICIES, type PolicyName } from "../../src/experts/policy/index.ts";
import { PREDICTORS, type PredictorName } from "../../src/experts/predictor/index.ts";
import { prefillMode } from "../../src/experts/prefill.ts";
import { type ReplayResult, replay, replayPrefill } from "../../src/experts/replay.ts";
import { decodeTrace, type Trace } from "../../src/experts/trace.ts";
import { SluiceError } from "../../src/index.ts";
import { fixture } from "../support/golden.ts";
import { MANY_EXPERTS, syntheticTrace } from "../support/synthetic_trace.ts";
import { countReads, loadedTogether, orderTogether } from "./layout.ts";

const KNOWN_WINDOW_TOKENS = 64;
const PREFILL_CHUNK_TOKENS = [8, 64];

const COLUMNS = [
  "bytes/token",
  "critical bytes/token",
  "wasted bytes/token",
  "hits",
  "faults/token",
  "of Belady",
];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { slots: { type: "string", default: "25,50" }, layout: { type: "boolean", default: false } },
});
const shares = values.slots.split(",").map(Number);
if (!shares.every((share) => share > 0 && share <= 100)) {
  console.error(`--slots takes percentages such as 25,50, not ${values.slots}`);
  process.exit(2);
}
try {
  for (const [name, trace] of tracesOf(positionals[0])) printTrace(name, trace);
} catch (error) {
  if (!(error instanceof Error) || !("code" in error)) throw error;
  console.error(error instanceof SluiceError ? `${error.message}\n${error.remedy}` : error.message);
  process.exit(1);
}

function tracesOf(file: string | undefined): [string, Trace][] {
  if (file !== undefined) return [[file, decodeTrace(readFileSync(file, "utf8"))]];
  const stories = decodeTrace(readFileSync(fixture("tiny-stories.trace"), "utf8"));
  return [
    ["tiny-stories-moe, recorded", stories],
    ["synthetic", syntheticTrace(MANY_EXPERTS)],
  ];
}

function printTrace(name: string, trace: Trace): void {
  const { sites, tokens } = trace;
  const [first] = sites;
  console.log(
    `## ${name}: ${tokens.length} tokens, ${sites.length} sites of ${first?.experts} experts, top ${first?.topK}\n`,
  );
  if (values.layout) printLayout(trace);
  for (const share of values.layout ? [] : shares) {
    printPairs(trace, share);
    printCapacities(trace, share);
    printPrefill(trace, share);
  }
}

function printPairs(trace: Trace, share: number): void {
  const slots = slotsFor(trace, share, DEFAULTS.capacity);
  const rows = Object.keys(PREDICTORS).flatMap((predictor) =>
    Object.keys(POLICIES).map((policy) => {
      const pair = { predictor: predictor as PredictorName, policy: policy as PolicyName };
      const isDefault = pair.predictor === DEFAULTS.predictor && pair.policy === DEFAULTS.policy;
      const cells = [predictor, policy, ...describe(replayPair(trace, slots, pair), belady(trace, slots))];
      return isDefault ? cells.map((cell) => `**${cell}**`) : cells;
    }),
  );
  console.log(`### ${share} % of the slots, ${DEFAULTS.capacity}\n`);
  printTable(["predictor", "policy", ...COLUMNS], rows);
}

function printCapacities(trace: Trace, share: number): void {
  const plans: CapacityPlan[] = ["even", "shallow-first", "measured"];
  const rows = plans.map((plan) => {
    const slots = slotsFor(trace, share, plan);
    return [plan, slots.join(" "), ...describe(replayPair(trace, slots, DEFAULTS), belady(trace, slots))];
  });
  console.log(`### ${share} % of the slots, ${DEFAULTS.predictor} with ${DEFAULTS.policy}\n`);
  printTable(["capacity", "slots", ...COLUMNS], rows);
}

function printPrefill(trace: Trace, share: number): void {
  const slots = slotsFor(trace, share, DEFAULTS.capacity);
  const policy = POLICIES[DEFAULTS.policy];
  const rows = PREFILL_CHUNK_TOKENS.flatMap((chunkTokens) =>
    (["on-demand", "ring"] as const).map((mode) => {
      const { tokens, bytesLoaded, bytesStalled } = replayPrefill(trace, {
        slots,
        policy,
        mode,
        chunkTokens,
      });
      const picked = prefillMode(trace.sites, chunkTokens) === mode ? "picked" : "";
      const bytes = [bytesLoaded, bytesStalled].map((all) => formatBytes(all / tokens));
      return [String(chunkTokens), mode, ...bytes, picked];
    }),
  );
  console.log(`### ${share} % of the slots, prefill\n`);
  printTable(["tokens/chunk", "mode", "bytes/token", "critical bytes/token", ""], rows);
}

/** Reads of the second half of a trace, with an order by co-activation that is learned from the routes of the first. */
function printLayout(trace: Trace): void {
  const half = Math.floor(trace.tokens.length / 2);
  const first = { ...trace, tokens: trace.tokens.slice(0, half) };
  const rows = shares.map((share) => {
    const [before, all] = [first, trace].map((model) => {
      const slots = slotsFor(trace, share, DEFAULTS.capacity);
      const predictor = PREDICTORS[DEFAULTS.predictor]({ model });
      return loadedTogether(model, { slots, policy: POLICIES[DEFAULTS.policy], predictor });
    });
    const reads = trace.sites.map(({ experts }, s) => {
      const sets = all?.[s]?.slice(before?.[s]?.length) ?? [];
      const routes = first.tokens.map((token) => token.routes[s] ?? []);
      const orders = [[], routes, sets].map((learned) => orderTogether(experts, learned));
      return [sets.flat().length, ...orders.map((order) => countReads(sets, order)), sets.length];
    });
    const sums = reads.reduce((sums, site) => sums.map((sum, i) => sum + (site[i] ?? 0)));
    return [`${share} %`, ...sums.map((sum) => (sum / (trace.tokens.length - half)).toFixed(2))];
  });
  console.log(`### reads/token, ${DEFAULTS.predictor} with ${DEFAULTS.policy}\n`);
  printTable(["slots", "a page each", "as declared", "by co-activation", "in hindsight", "a set each"], rows);
}

function replayPair(
  trace: Trace,
  slots: readonly number[],
  { policy, predictor }: { policy: PolicyName; predictor: PredictorName },
): ReplayResult {
  const known = { window: KNOWN_WINDOW_TOKENS, routes: (token: number) => trace.tokens[token]?.routes };
  return replay(trace, {
    slots,
    policy: POLICIES[policy],
    predictor: PREDICTORS[predictor]({ model: trace, known }),
  });
}

/** Bytes of the fewest loads, over the whole trace. */
function belady({ sites, tokens }: Trace, slots: readonly number[]): number {
  return sites.reduce((sum, { pageBytes }, s) => sum + pageBytes * beladyLoads(tokens, s, slots[s] ?? 1), 0);
}

function describe(result: ReplayResult, least: number): string[] {
  const { tokens, hits, misses, bytesLoaded, bytesStalled, bytesWasted, faults } = result;
  return [
    ...[bytesLoaded, bytesStalled, bytesWasted].map((bytes) => formatBytes(bytes / tokens)),
    `${((100 * hits) / (hits + misses)).toFixed(1)} %`,
    (faults / tokens).toFixed(2),
    `${threeDigits(bytesLoaded / least)} ×`,
  ];
}

function slotsFor({ sites, tokens }: Trace, percent: number, plan: CapacityPlan): number[] {
  const measured = sites.map((site, s) => {
    const uses = new Array<number>(site.experts).fill(0);
    for (const { routes } of tokens) {
      for (const expert of routes[s] ?? []) uses[expert] = (uses[expert] ?? 0) + 1;
    }
    const hasPage = (_: number, expert: number) => !site.pageless?.includes(expert);
    const paged = uses.filter(hasPage);
    return { pageBytes: site.pageBytes, experts: paged.length, uses: paged };
  });
  const all = measured.reduce((sum, { experts, pageBytes }) => sum + experts * pageBytes, 0);
  return shareSlots(measured, (all * percent) / 100, plan);
}

function printTable(head: readonly string[], rows: readonly (readonly string[])[]): void {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  console.log([line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n"), "\n");
}
