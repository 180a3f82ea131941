/**
 * `npm run bench -- paging [--model PATH]`: decode with all, half and a quarter of the experts in GPU memory, against
 * on-demand LRU without prediction, all in one run under Node. Pages come from a store that answers like a disk: at
 * 1 GB/s, at 0.2 GB/s, and at the rate where on-demand waits for as long as it computes. Nothing is cached in host
 * memory, or the disk would not be asked.
 */
import { openAsBlob } from "node:fs";
import { basename } from "node:path";
import { parseArgs } from "node:util";
import { formatBytes, formatShare, threeDigits } from "../../demo/format.ts";
import { requestAdapter } from "../../demo/terminal/dawn.ts";
import { findModel } from "../../demo/terminal/model_place.ts";
import type { ExpertOptions, LoadOptions } from "../../src/api.ts";
import { Engine } from "../../src/engine.ts";
import { SluiceError } from "../../src/errors.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import type { Stats } from "../../src/index.ts";
import { loadOn } from "../../src/language_model.ts";
import { MemoryBackend } from "../../src/store/memory.ts";
import { ModelStore } from "../../src/store/model_store.ts";
import { unsteady } from "../support/unsteady_store.ts";

const TOKENS = 128;
/** Predictors learn from these. */
const WARM_UPS = [
  "once upon a time, there was a boy who had a red ball and a big dog",
  "one day, a cat and a bird met in the park",
  "there was a kind old man who lived near the sea with his wife",
  "the sun was hot and tom wanted to go to the lake",
];
const PROMPT = "once upon a time, there was a little girl who lived in a big house";
const SEED = 1;
const ON_DEMAND: ExpertOptions = { policy: "lru", predictor: "none" };

interface Setup {
  readonly name: string;
  readonly share: `${number}%`;
  readonly experts: ExpertOptions;
}

const RESIDENT: Setup = { name: "100 %", share: "100%", experts: {} };
const PAGED: readonly Setup[] = [
  { name: "50 %", share: "50%", experts: {} },
  { name: "50 %, on demand", share: "50%", experts: ON_DEMAND },
  { name: "25 %", share: "25%", experts: {} },
  { name: "25 %, on demand", share: "25%", experts: ON_DEMAND },
];

export async function paging(args: readonly string[]): Promise<void> {
  const { model } = parseArgs({ args: [...args], options: { model: { type: "string" } } }).values;
  const place = findModel(model);
  if (place.kind !== "file") {
    throw new SluiceError("bad-request", "this benchmark reads a local file", {
      remedy: "Give --model a path.",
    });
  }
  const file = new File([await openAsBlob(place.path)], basename(place.path));
  const store = new ModelStore(new MemoryBackend(Number.POSITIVE_INFINITY));
  const measure = ({ share, experts }: Setup, bytesPerSecond: number | undefined) =>
    decode(bytesPerSecond === undefined ? store : unsteady(store, { seed: SEED, bytesPerSecond }), file, {
      memory: { gpuExperts: share, host: 0 },
      experts,
    });
  // The first run of each kernel compiles it, and the first load puts the pages into the store.
  await measure(RESIDENT, undefined);
  const resident = await measure(RESIDENT, undefined);
  const onDemand = await measure(PAGED[3] as Setup, undefined);
  const balanced = onDemand.bytesStalledPerToken * resident.decodeTokensPerSecond;
  console.log(
    `${TOKENS} tokens, ${threeDigits(resident.decodeTokensPerSecond)} tokens/s with every expert in place\n`,
  );
  console.log("| disk | experts | speed | hits | faults | waited for | uploaded | in vain |");
  console.log("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
  for (const rate of [undefined, 1e9, 0.2e9, balanced]) {
    for (const setup of PAGED) {
      const stats = await measure(setup, rate);
      const disk = rate === undefined ? "memory" : `${formatBytes(rate)}/s`;
      console.log(`| ${[disk, setup.name, ...row(stats, resident)].join(" | ")} |`);
    }
  }
}

function row(stats: Stats, resident: Stats): string[] {
  return [
    formatShare(stats.decodeTokensPerSecond / resident.decodeTokensPerSecond),
    formatShare(stats.expertHitRate),
    threeDigits(stats.faultsPerToken),
    formatBytes(stats.bytesStalledPerToken),
    formatBytes(stats.bytesUploadedPerToken),
    formatShare(stats.prefetchWaste),
  ];
}

/** Decodes a warm-up text, from which predictors learn, and then the text that is measured. */
async function decode(
  store: ConstructorParameters<typeof Engine>[0],
  file: File,
  options: LoadOptions,
): Promise<Stats> {
  const engine = new Engine(store, async () => Gpu.open(await requestAdapter()));
  const model = await loadOn(engine, file, options);
  try {
    await model.install();
    for (const [seed, prompt] of [...WARM_UPS, PROMPT].entries()) {
      for await (const _ of model.generate(prompt, { maxTokens: TOKENS, temperature: 1, seed }));
    }
    return await model.stats();
  } finally {
    await model.dispose();
  }
}
