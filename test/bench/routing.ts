/**
 * `npm run bench -- routing --model PATH [--tokens 1,2,3] [--k N]`: experts and bytes of pages that a token needs by the
 * model's own rule, and by plain top-k among the experts with pages from the same router logits, site by site; then what
 * the default cache moves for either with a quarter of the slots. Without --k: the rule's k, or where it has none the mean
 * number of its experts, rounded. Without --tokens: 64 ids, or as many as the model was made for.
 */
import { basename } from "node:path";
import { parseArgs } from "node:util";
import { formatBytes } from "../../demo/format.ts";
import { openFiles, requestAdapter } from "../../demo/terminal/dawn.ts";
import { findModel } from "../../demo/terminal/model_place.ts";
import { shareSlots } from "../../src/experts/capacity.ts";
import { DEFAULTS } from "../../src/experts/defaults.ts";
import { POLICIES } from "../../src/experts/policy/index.ts";
import { PREDICTORS } from "../../src/experts/predictor/index.ts";
import { replay as replayTrace } from "../../src/experts/replay.ts";
import { RouteRows } from "../../src/experts/routes.ts";
import type { TraceSite } from "../../src/experts/trace.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import { ParamArena } from "../../src/gpu/params.ts";
import { replay } from "../../src/gpu/program.ts";
import { SluiceError } from "../../src/index.ts";
import { ABSENT, ELSEWHERE } from "../../src/kernels/route.ts";
import { buildPrograms, lookAt } from "../../src/model/forward.ts";
import { type Prepared, prepare } from "../../src/model/load.ts";
import { maxRoutes } from "../../src/model/moe_plan.ts";
import { Routing } from "../../src/model/routing.ts";
import { allocateState, logitsOf, moeSites, routeStride, scaleRopes } from "../../src/model/state.ts";
import { Weights } from "../../src/model/weights.ts";
import { specOf } from "../../src/source/spec.ts";
import { MemoryBackend } from "../../src/store/memory.ts";
import { ModelStore } from "../../src/store/model_store.ts";
import { byDescending } from "../reference/index.ts";

const DEFAULT_TOKENS = 64;
const SLOT_SHARE = 0.25;

/** Experts of each token at each site: [token][site]. */
type Routes = readonly (readonly (readonly number[])[])[];

export async function routing(args: readonly string[]): Promise<void> {
  const options = { model: { type: "string" }, tokens: { type: "string" }, k: { type: "string" } } as const;
  const { values } = parseArgs({ args: [...args], options });
  const place = findModel(values.model);
  if (place.kind === "url" || place.kind === "hub") throw badRequest("this benchmark reads a local model");
  const store = new ModelStore(new MemoryBackend(Number.POSITIVE_INFINITY));
  const { id, file } = await store.open(specOf(await openFiles(place)));
  const prepared = prepare(file, { install: "as-is" });
  const { plan } = prepared;
  const asked = values.tokens?.split(",").map(Number);
  const length = Math.min(DEFAULT_TOKENS, plan.contextTokens);
  const ids = asked ?? Array.from({ length }, (_, i) => (17 + 31 * i + 5 * i * i) % plan.vocabulary);
  if (!ids.every((token) => Number.isInteger(token) && token >= 0 && token < plan.vocabulary)) {
    throw badRequest(`--tokens takes ids from 0 to ${plan.vocabulary - 1}`);
  }
  const gpu = await Gpu.open(await requestAdapter());
  await store.plan(id, prepared.pages.pages, { name: plan.name, architecture: plan.architecture });
  const read = async (page: number) => (await store.read(id, [page]))[0] as ArrayBuffer;
  const { own, logits } = await run(gpu, prepared, ids, read);
  const selection = moeSites(plan)[0]?.router.selection;
  if (selection?.rule === "top-k") requireTopK(own, logits, selection.k);
  const sites = sitesOf(prepared);
  const hasPage = (s: number) => (expert: number) => !sites[s]?.pageless?.includes(expert);
  const needed = own.map((token) => token.map((route, s) => route.filter(hasPage(s))));
  const mean = needed.flat(2).length / needed.flat().length;
  const k = Number(values.k ?? (selection && "k" in selection ? selection.k : Math.max(1, Math.round(mean))));
  const plain = logits.map((token) =>
    token.map((row, s) => byDescending(row).filter(hasPage(s)).slice(0, k)),
  );
  console.log(
    `${basename(place.path)}, ${ids.length} tokens, ${sites.length} sites of ${sites[0]?.experts} experts`,
  );
  console.log(
    `(${sites[0]?.pageless?.length ?? 0} without a page), ${formatBytes(sites[0]?.pageBytes ?? 0)} a page\n`,
  );
  console.log("| rule | experts with a page | needed | moved, 25 % of the slots | hits |");
  console.log("| --- | ---: | ---: | ---: | ---: |");
  for (const [rule, routes] of [
    [selection?.rule === "top-k" ? "its own" : `its own, ${selection?.rule}`, needed],
    [`top ${k} of those with a page`, plain],
  ] as const) {
    console.log(`| ${[rule, ...measured(sites, routes, ids)].join(" | ")} |`);
  }
  gpu.destroy();
}

function badRequest(message: string): SluiceError {
  return new SluiceError("bad-request", message, { remedy: "See test/bench/routing.ts for what it takes." });
}

/** The logits are those that the routes come from. */
function requireTopK(own: Routes, logits: readonly (readonly Float32Array[])[], k: number): void {
  const sorted = (route: readonly number[]) => String(route.toSorted((a, b) => a - b));
  for (const [t, token] of own.entries()) {
    for (const [s, route] of token.entries()) {
      const best = byDescending(logits[t]?.[s] ?? []).slice(0, k);
      if (sorted(route) !== sorted(best)) throw new Error(`token ${t}, site ${s}: ${route}, not ${best}`);
    }
  }
}

/** A model's decode program, with all of its pages in GPU memory. */
async function open(
  gpu: Gpu,
  { plan, pages }: Prepared,
  context: number,
  read: (page: number) => Promise<ArrayBuffer>,
) {
  const sizes = { context, chunk: 1, tile: 1, lookahead: 0, isTraced: false };
  const weights = new Weights(gpu, pages);
  const state = allocateState(gpu, plan, sizes);
  weights.placeSites(pages.sites.map((site) => site.filter((page) => page).length));
  const { decode } = buildPrograms(gpu, plan, weights, state, sizes);
  for (const page of pages.denseGroups.flat()) {
    const bytes = await read(page.index);
    weights.uploadDense(page, bytes);
    scaleRopes(gpu, state, context, page, bytes);
  }
  for (const [s, site] of pages.sites.entries()) {
    let slots = 0;
    const row = new Uint32Array(site.length).fill(ELSEWHERE);
    for (const [expert, page] of site.entries()) {
      if (!page) continue;
      row[expert] = slots;
      weights.upload(s, slots++, await read(page.index));
    }
    weights.show(s, row);
  }
  new Routing(plan).show(weights);
  await gpu.ready();
  return { state, decode };
}

/** The routes of the model's own rule, and the router's logits they come from: [token][site]. */
async function run(
  gpu: Gpu,
  prepared: Prepared,
  ids: readonly number[],
  read: (page: number) => Promise<ArrayBuffer>,
): Promise<{ own: Routes; logits: readonly (readonly Float32Array[])[] }> {
  const { plan } = prepared;
  const { state, decode } = await open(gpu, prepared, ids.length, read);
  const specs = moeSites(plan);
  const topK = specs.map(({ router, experts }) => maxRoutes(router, experts));
  const stride = routeStride(plan, 1);
  const logitBytes = 4 * Math.max(...specs.map(({ experts }) => experts));
  const readback = gpu.readback("routing", specs.length * (stride + logitBytes) + 4);
  const params = new ParamArena(gpu, 1);
  gpu.upload(state.tokens, 0, Uint32Array.from(ids));
  const own: number[][][] = [];
  const logits: Float32Array[][] = [];
  for (const position of ids.keys()) {
    const staging = readback.take();
    gpu.upload(state.fault, 0, Uint32Array.of(ABSENT));
    const encoder = gpu.device.createCommandEncoder();
    const at = params.write({ ...NO_SAMPLING, position, tokens: 1 });
    let first = 0;
    const runTo = (end: number) => {
      const pass = encoder.beginComputePass();
      replay(gpu, pass, decode.steps.slice(first, end), params, at, 1);
      pass.end();
      first = end;
    };
    for (const [s, site] of decode.sites.entries()) {
      runTo(lookAt(site));
      const { experts } = specs[s] as (typeof specs)[number];
      encoder.copyBufferToBuffer(logitsOf(state, s), 0, staging, s * logitBytes, 4 * experts);
    }
    runTo(decode.steps.length);
    const routesAt = specs.length * logitBytes;
    encoder.copyBufferToBuffer(state.routes, 0, staging, routesAt, specs.length * stride);
    gpu.submit(encoder);
    const bytes = await readback.read(staging, routesAt + specs.length * stride);
    const rows = new RouteRows(new Uint32Array(bytes, routesAt), stride / 4, topK, 1);
    own.push(rows.routes(0).map((route) => [...route]));
    logits.push(specs.map(({ experts }, s) => new Float32Array(bytes, s * logitBytes, experts)));
  }
  return { own, logits };
}

const NO_SAMPLING = {
  ...{ row: 0, seed: 0, temperature: 0, top_k: 0, top_p: 1, min_p: 0, repetition_penalty: 1 },
  ...{ frequency_penalty: 0, presence_penalty: 0, prompt_tokens: 0, top_logprobs: 0 },
};

function sitesOf({ plan, pages }: Prepared): TraceSite[] {
  return moeSites(plan).map(({ experts, router }, s) => {
    const site = pages.sites[s] ?? [];
    const pageless = [...site.keys()].filter((expert) => !site[expert]);
    const pageBytes = site.find((page) => page)?.bytes ?? 0;
    return { experts, topK: maxRoutes(router, experts), pageBytes, pageless };
  });
}

function measured(sites: readonly TraceSite[], routes: Routes, ids: readonly number[]): string[] {
  const tokens = ids.map((id, t) => ({ id, routes: routes[t] ?? [], ahead: [] }));
  const trace = { sites, tokens };
  const capacities = sites.map(({ experts, pageless = [], pageBytes }) => {
    return { experts: experts - pageless.length, pageBytes };
  });
  const all = capacities.reduce((sum, { experts, pageBytes }) => sum + experts * pageBytes, 0);
  const { hits, misses, bytesLoaded } = replayTrace(trace, {
    slots: shareSlots(capacities, SLOT_SHARE * all, DEFAULTS.capacity),
    policy: POLICIES[DEFAULTS.policy],
    predictor: PREDICTORS[DEFAULTS.predictor]({ model: trace }),
  });
  const each = routes.map((token) => token.map((route, s) => route.length * (sites[s]?.pageBytes ?? 0)));
  const bytes = each.flat().reduce((sum, one) => sum + one, 0);
  return [
    (routes.flat(2).length / routes.flat().length).toFixed(3),
    formatBytes(bytes / ids.length),
    formatBytes(bytesLoaded / ids.length),
    `${((100 * hits) / (hits + misses)).toFixed(1)} %`,
  ];
}
