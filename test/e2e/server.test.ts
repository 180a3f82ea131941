import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type PageServer, startPageServer } from "../../demo/terminal/server.ts";

const CONTENT = "0123456789";
const folder = mkdtempSync(join(tmpdir(), "sluice-server-"));
const logitsFile = join(folder, "logits");
let upstream: Server;
let server: PageServer;

beforeAll(async () => {
  upstream = createServer((request, response) => {
    const { pathname, search } = new URL(request.url ?? "/", "http://localhost");
    if (pathname === "/models/ranged") {
      response.writeHead(206, { "Content-Range": "bytes 2-4/10", "Content-Length": 3, "X-Range": "no" });
      response.end(request.headers.range === "bytes=2-4" ? "234" : "???");
    } else if (pathname === "/models/cut") {
      response.writeHead(200, { "Content-Length": CONTENT.length });
      response.write("0123");
      setTimeout(() => response.destroy(), 20);
    } else if (pathname === "/models/query") response.end(search);
    else if (pathname === "/models/moved") response.writeHead(302, { Location: "/models/query?a=b" }).end();
    else response.writeHead(503, { "Retry-After": "7" }).end("busy");
  });
  await new Promise<void>((ready) => upstream.listen(0, "127.0.0.1", ready));
  const remote = new URL(`http://127.0.0.1:${(upstream.address() as AddressInfo).port}/models/`);
  const pages = new Map([["index.html", "<p>page"]]);
  server = await startPageServer({ pages, mounts: {}, remote, uploads: { "/logits": logitsFile } });
});
afterAll(() => {
  server.close();
  upstream.close();
  rmSync(folder, { recursive: true });
});

test("serves pages by path, and the index for the root", async () => {
  expect(await (await fetch(`${server.origin}/`)).text()).toBe("<p>page");
  expect((await fetch(`${server.origin}/none`)).status).toBe(404);
});

test("passes ranges, status and headers through", async () => {
  const response = await fetch(`${server.origin}/remote/ranged`, { headers: { Range: "bytes=2-4" } });
  expect(response.status).toBe(206);
  expect(response.headers.get("content-range")).toBe("bytes 2-4/10");
  expect(response.headers.get("content-length")).toBe("3");
  expect(await response.text()).toBe("234");
});

test("passes queries on and follows redirections", async () => {
  expect(await (await fetch(`${server.origin}/remote/query?x=1&y`)).text()).toBe("?x=1&y");
  expect(await (await fetch(`${server.origin}/remote/moved`)).text()).toBe("?a=b");
});

test("passes an upstream's refusal on", async () => {
  const response = await fetch(`${server.origin}/remote/busy`);
  expect(response.status).toBe(503);
  expect(response.headers.get("retry-after")).toBe("7");
});

test("breaks off when the upstream does", async () => {
  const response = await fetch(`${server.origin}/remote/cut`);
  expect(response.headers.get("content-length")).toBe("10");
  await expect(response.text()).rejects.toThrow();
});

test("does not reach beyond the model's folder", async () => {
  for (const path of ["/etc", "http://127.0.0.1:1/x", "/models/../etc"]) {
    expect((await fetch(`${server.origin}/remote/${path}`)).status, path).toBe(404);
  }
});

test("takes no upload that has no file", async () => {
  expect((await fetch(`${server.origin}/trace`, { method: "POST", body: "{}" })).status).toBe(404);
});

test("writes posted logits byte by byte", async () => {
  const bytes = new Uint8Array(3_000_000).map((_, index) => index % 251);
  const response = await fetch(`${server.origin}/logits`, { method: "POST", body: bytes });
  expect(response.status).toBe(204);
  expect(readFileSync(logitsFile).equals(bytes)).toBe(true);
});
