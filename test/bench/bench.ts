/**
 * `npm run bench -- [MODE] [options of the mode]`. Without a mode, `[--model PATH|URL] [--backend chromium|node]`: what
 * one generation measures, as a Markdown table. Without `--backend`: in Chromium, two visits with one profile, then
 * under Node where it finds an adapter.
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { formatBytes, formatMs, formatShare, threeDigits } from "../../demo/format.ts";
import type { Job, JobResult } from "../../demo/job.ts";
import { openHeadless } from "../../demo/terminal/chromium.ts";
import { runInNode } from "../../demo/terminal/dawn.ts";
import { findModel, type ModelPlace } from "../../demo/terminal/model_place.ts";
import { SluiceError, type Stats } from "../../src/index.ts";

const GENERATED_TOKENS = 128;
/** Common words are in every vocabulary that has words at all; the length is about a hundred tokens. */
const PROMPT =
  "once upon a time, there was a little girl who lived in a big house with her mom and her dog. ".repeat(4);

const job: Job = {
  prompt: PROMPT.trimEnd(),
  maxTokens: GENERATED_TOKENS,
  temperature: 0,
  topK: 0,
  topP: 1,
  wantsLogits: false,
};
const quiet = { onText: () => {} };

/** What a first argument that is no option names: takes the arguments after it, prints what it measured. */
type Mode = (args: readonly string[]) => Promise<void>;

/** A mode in a file of its own is imported when it is asked for. */
const MODES: Readonly<Record<string, Mode>> = {
  generation,
  paging: async (args) => (await import("./paging.ts")).paging(args),
  routing: async (args) => (await import("./routing.ts")).routing(args),
};

interface Column {
  readonly title: string;
  readonly result: JobResult;
}

const ROWS: readonly [string, (stats: Stats, result: JobResult) => string][] = [
  ["decode, tokens/s", (stats) => threeDigits(stats.decodeTokensPerSecond)],
  ["prefill, tokens/s", (stats) => threeDigits(stats.prefillTokensPerSecond)],
  ["time to first token", (stats) => formatMs(stats.timeToFirstTokenMs)],
  ["load", (stats) => formatMs(stats.loadMs)],
  ["from loadModel to the first token", (_, { firstTokenAfterMs }) => formatMs(firstTokenAfterMs)],
  ["fetched", (stats) => formatBytes(stats.bytesFetched)],
  ["fetched before the first token", (stats) => formatBytes(stats.bytesFetchedBeforeFirstToken)],
  ["uploaded per token", (stats) => formatBytes(stats.bytesUploadedPerToken)],
  ["expert hits", (stats) => formatShare(stats.expertHitRate)],
  ["faults per token", (stats) => threeDigits(stats.faultsPerToken)],
  ["waited for per token", (stats) => formatBytes(stats.bytesStalledPerToken)],
  ["brought early in vain", (stats) => formatShare(stats.prefetchWaste)],
  ["dispatches per token", (stats) => threeDigits(stats.dispatchesPerToken)],
  ["readbacks per token", (stats) => threeDigits(stats.readbacksPerToken)],
  ["GPU memory", (stats) => formatBytes(stats.gpuBytes)],
  ["host memory, peak", (stats) => formatBytes(stats.hostBytesPeak)],
];

async function inChromium(place: ModelPlace): Promise<Column[]> {
  const browser = await openHeadless({ ...quiet, place });
  try {
    return [
      // Or the second load would find what the first came to store in its short life.
      { title: "Chromium, first visit", result: await browser.run({ ...job, waitsForInstall: true }) },
      { title: "Chromium, second visit", result: await browser.run(job) },
    ];
  } finally {
    await browser.close();
  }
}

async function underNode(place: ModelPlace, isOptional: boolean): Promise<Column[]> {
  try {
    return [{ title: "Node (Dawn)", result: await runInNode({ ...quiet, place }, job) }];
  } catch (error) {
    if (!isOptional || !(error instanceof SluiceError) || error.code !== "no-webgpu") throw error;
    console.error(`Not run under Node: ${error.message}.`);
    return [];
  }
}

function table(columns: readonly Column[]): string {
  const rows = [
    ["", ...columns.map(({ title }) => title)],
    ["---", ...columns.map(() => "---:")],
    ["adapter", ...columns.map(({ result }) => result.info.adapter)],
    ...ROWS.map(([name, format]) => [name, ...columns.map(({ result }) => format(result.stats, result))]),
  ];
  return rows.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

async function generation(args: readonly string[]): Promise<void> {
  const options = { model: { type: "string" }, backend: { type: "string" } } as const;
  const { model, backend } = parseArgs({ args: [...args], options }).values;
  const place = findModel(model);
  const columns = [
    ...(backend === "node" ? [] : await inChromium(place)),
    ...(backend === "chromium" ? [] : await underNode(place, backend === undefined)),
  ];
  console.log(
    `${columns[0]?.result.info.name}, ${GENERATED_TOKENS} tokens after a prompt of ${PROMPT.length} characters\n`,
  );
  console.log(table(columns));
}

async function main([first, ...rest]: readonly string[]): Promise<void> {
  const isMode = first !== undefined && !first.startsWith("-");
  const name = isMode ? first : "generation";
  const mode = Object.hasOwn(MODES, name) ? MODES[name] : undefined;
  if (mode === undefined) {
    console.error(`${name} is no mode of this benchmark; there are ${Object.keys(MODES).join(", ")}`);
    process.exit(2);
  }
  await mode(isMode ? rest : [first, ...rest].filter((arg) => arg !== undefined));
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  console.error(error instanceof SluiceError ? `${error.code}: ${error.message}\n${error.remedy}` : error);
  process.exit(1);
}
// Dawn's native module keeps the process alive otherwise.
process.exit(0);
