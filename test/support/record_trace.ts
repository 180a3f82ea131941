/**
 * `node scripts/ts.mjs test/support/record_trace.ts`: writes `test/fixtures/tiny-stories.trace`, the routes of
 * tiny-stories-moe over sampled stories, by the float64 oracle. Prompts count as decoded tokens.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Ranking } from "../../src/experts/predictor/predictor.ts";
import { encodeTrace, type TraceSite, type TraceToken } from "../../src/experts/trace.ts";
import { planModel } from "../../src/model/archs/index.ts";
import { planPages } from "../../src/model/pages.ts";
import { BlobSource } from "../../src/source/blob.ts";
import { readGguf } from "../../src/source/gguf.ts";
import { loadOracle, type Oracle } from "../reference/model.ts";
import { sample } from "../reference/sample.ts";
import { fixture, tinyStoriesCases, tinyStoriesModel } from "./golden.ts";
import { type Random, seeded } from "./random.ts";

const STORIES = 8;
const STORY_TOKENS = 100;
const LOOKAHEAD = 3;
const SEED = 7;

const path = fileURLToPath(tinyStoriesModel());
const oracle = await loadOracle(path);
const sites = await readSites(path);
const prompts = (await tinyStoriesCases(fixture("golden-Q4_K_M"))).map(({ tokens }) => tokens);
const random = seeded(SEED);
const tokens: TraceToken[] = [];
for (let story = 0; story < STORIES; story++) {
  const prompt = prompts[story % prompts.length] ?? [];
  tokens.push(...record(oracle, tell(oracle, prompt, random)));
}
writeFileSync(fixture("tiny-stories.trace"), encodeTrace({ sites, tokens }));

async function readSites(file: string): Promise<TraceSite[]> {
  const model = await readGguf(new BlobSource(file, file, new Blob([readFileSync(file)])));
  const { experts, topK } = oracle.config;
  return planPages(planModel(model)).sites.map((pages) => ({
    experts,
    topK,
    pageBytes: pages[0]?.bytes ?? 0,
  }));
}

function tell(model: Oracle, prompt: readonly number[], random: Random): number[] {
  const pick = (logits: Float64Array): number => {
    let left = random();
    const chances = sample(logits, { temperature: 0.8, topK: 40 });
    return chances.findIndex((chance) => {
      left -= chance;
      return left < 0;
    });
  };
  return [...prompt, ...model.generate(prompt, STORY_TOKENS - prompt.length, pick)];
}

function record(model: Oracle, ids: readonly number[]): TraceToken[] {
  const { topK } = model.config;
  const count = topK + Math.ceil(topK / 2);
  const routes = model.routes(ids);
  const ahead = model.routesAhead(ids, LOOKAHEAD, count);
  return ids.map((id, t) => ({
    id,
    routes: routes.map(({ experts }) => [...experts.subarray(t * topK, (t + 1) * topK)]),
    ahead: ahead.flatMap((targets, source) =>
      // The embedding says nothing of a site behind the first.
      (source === 0 ? targets.slice(0, 1) : targets).map(
        ({ experts, weights }, d): Ranking => ({
          from: source - 1,
          site: source + d,
          experts: [...experts.subarray(t * count, (t + 1) * count)],
          weights: [...weights.subarray(t * count, (t + 1) * count)],
        }),
      ),
    ),
  }));
}
