/** A model several times larger than what it is given, from a server that logs what was asked of it. */
import { openSync, readSync, rmSync } from "node:fs";
import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openHeadless } from "../../demo/terminal/chromium.ts";
import { decodeTrace } from "../../src/experts/trace.ts";
import { planModel } from "../../src/model/archs/index.ts";
import { type ModelPages, planPages } from "../../src/model/pages.ts";
import type { PagePlan } from "../../src/quant/page.ts";
import { readGguf } from "../../src/source/gguf.ts";
import { openSource } from "../../src/source/open.ts";
import { startServer, type TestServer } from "../source/server.ts";
import { writeRandomModel } from "../support/random_model.ts";

const MIB = 2 ** 20;
const EXPERTS = 64;

let folder: string;
let fileBytes: number;
let pages: ModelPages;
let headerBytes: number;
let server: TestServer;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-large-"));
  const path = join(folder, "model.gguf");
  fileBytes = await writeRandomModel(path, { mib: 208, layers: 4, experts: EXPERTS, topK: 2 });
  const file = openSync(path, "r");
  server = await startServer(({ range }, response) => {
    const { start, end } = range ?? { start: 0, end: fileBytes - 1 };
    const part = Buffer.alloc(Math.min(end + 1, fileBytes) - start);
    readSync(file, part, 0, part.length, start);
    const contentRange = `bytes ${start}-${start + part.length - 1}/${fileBytes}`;
    response.writeHead(range ? 206 : 200, {
      "Content-Length": part.length,
      ...(range ? { "Content-Range": contentRange } : {}),
    });
    response.end(part);
  });
  const model = await readGguf(
    await openSource({ kind: "url", url: server.url }, AbortSignal.timeout(60_000)),
  );
  pages = planPages(planModel(model));
  headerBytes = Math.min(...model.tensors.map(({ offset }) => offset));
});

afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const sourceBytes = (some: readonly PagePlan[]) =>
  some.flatMap(({ parts }) => parts).reduce((sum, { source }) => sum + source.bytes, 0);

const jobOf = (maxTokens: number) => ({
  ...{ prompt: [1, 2, 3, 5, 8, 13, 21], maxTokens, temperature: 0, topK: 0, topP: 1, wantsLogits: false },
});

describe(`${EXPERTS} experts in 4 layers, 208 MiB`, () => {
  test("the first token comes of the header, the dense weights and the experts it touched", async () => {
    const asked = server.asked.length;
    const traceFile = join(folder, "routes.trace");
    const place = { kind: "url", url: new URL(server.url) } as const;
    const browser = await openHeadless({ place, traceFile, onText: () => {} });
    try {
      const load = { memory: { gpuExperts: "25%" }, contextTokens: 64, experts: { trace: true } } as const;
      const { stats } = await browser.run({ ...jobOf(1), load });
      const { tokens } = decodeTrace(await readFile(traceFile, "utf8"));
      const touched = pages.sites.flatMap((site, s) => {
        const experts = new Set(tokens.flatMap(({ routes }) => routes[s] ?? []));
        return site.flatMap((page, expert) => (page && experts.has(expert) ? [page] : []));
      });
      expect(touched.length).toBeLessThan((pages.sites.length * EXPERTS) / 4);
      const served = server.asked
        .slice(asked)
        .reduce((sum, { range }) => sum + (range ? range.end + 1 - range.start : 0), 0);
      const least = headerBytes + sourceBytes(pages.denseGroups.flat()) + sourceBytes(touched);
      expect(stats.bytesFetchedBeforeFirstToken).toBeGreaterThanOrEqual(least);
      // The rest may have begun by the time the page is closed.
      expect(stats.bytesFetchedBeforeFirstToken).toBeLessThanOrEqual(served);
      expect(stats.bytesFetchedBeforeFirstToken).toBeLessThanOrEqual(1.05 * least);
    } finally {
      await browser.close();
    }
  });

  test("installed while it runs with a quarter of its experts: host memory stays at the cache and two pages", async () => {
    const place = { kind: "url", url: new URL(server.url) } as const;
    const browser = await openHeadless({ place, onText: () => {} });
    try {
      const host = 16 * MIB;
      const load = { memory: { gpuExperts: "25%", host }, contextTokens: 64 } as const;
      const { stats } = await browser.run({ ...jobOf(12), load, waitsForInstall: true });
      expect(stats.bytesFetched).toBeGreaterThanOrEqual(0.99 * fileBytes);
      expect(stats.gpuBytes).toBeLessThan(0.3 * fileBytes);
      const largest = Math.max(...pages.pages.map(({ bytes }) => bytes));
      expect(stats.hostBytesPeak).toBeLessThanOrEqual(host + 2 * largest);
      const asked = server.asked.length;
      const again = await browser.run({ ...jobOf(4), load });
      expect(again.stats.bytesFetched).toBe(0);
      expect(server.asked.length).toBe(asked);
    } finally {
      await browser.close();
    }
  });
});
