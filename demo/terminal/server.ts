import { createWriteStream } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type Mounts, mountedPath, sendFile } from "../../scripts/serve_files.ts";
import type { Pages } from "./pages.ts";

export interface PageServerOptions {
  readonly pages: Pages;
  /** Folders whose files are served by range. */
  readonly mounts: Mounts;
  /** `/remote/x` answers with what `x`, relative to this, answers: arbitrary servers send no CORS headers. */
  readonly remote?: URL;
  /** Files that the body of a POST goes to, by path such as `/logits`. */
  readonly uploads?: Readonly<Record<string, string>>;
}

export interface PageServer {
  /** Without a slash at the end. */
  readonly origin: string;
  close(): void;
}

const REMOTE = "/remote/";
const PASSED_REQUEST_HEADERS = ["range", "if-range", "if-match", "if-none-match"];
const PASSED_RESPONSE_HEADERS = [
  "accept-ranges",
  "content-length",
  "content-range",
  "content-type",
  "etag",
  "last-modified",
  "retry-after",
];
const CONTENT_TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
};

/** Serves built pages, model files and a proxy for one remote folder, on a free port that only this machine sees. */
export async function startPageServer(options: PageServerOptions): Promise<PageServer> {
  const server = createServer((request, response) => {
    answer(options, request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

async function answer(options: PageServerOptions, request: IncomingMessage, response: ServerResponse) {
  const { pathname, search } = new URL(request.url ?? "/", "http://localhost");
  const page = pathname === "/" ? "index.html" : pathname.slice(1);
  const content = options.pages.get(page);
  if (content !== undefined) {
    response.setHeader("Content-Type", CONTENT_TYPES[extname(page)] ?? "application/octet-stream");
    response.end(content);
    return;
  }
  const upload = request.method === "POST" ? options.uploads?.[pathname] : undefined;
  if (upload !== undefined) return receive(request, response, upload);
  if (pathname.startsWith(REMOTE) && options.remote !== undefined) {
    const url = new URL(pathname.slice(REMOTE.length) + search, options.remote);
    if (url.href.startsWith(options.remote.href)) return forward(request, response, url);
  }
  sendFile(request, response, mountedPath(options.mounts, request.url ?? "/") ?? "");
}

async function receive(request: IncomingMessage, response: ServerResponse, file: string) {
  try {
    await pipeline(request, createWriteStream(file));
  } catch (error) {
    response.statusCode = 500;
    response.end(`cannot write ${file}: ${error instanceof Error ? error.message : error}`);
    return;
  }
  response.statusCode = 204;
  response.end();
}

/** Passes status, range headers and body through; when the upstream breaks off, so does the answer. */
async function forward(request: IncomingMessage, response: ServerResponse, url: URL) {
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  const headers = new Headers({ "accept-encoding": "identity" });
  for (const name of PASSED_REQUEST_HEADERS) {
    const value = request.headers[name];
    if (typeof value === "string") headers.set(name, value);
  }
  const upstream = await fetch(url, { method: request.method ?? "GET", headers, signal: gone.signal });
  response.statusCode = upstream.status;
  for (const name of PASSED_RESPONSE_HEADERS) {
    const value = upstream.headers.get(name);
    if (value !== null) response.setHeader(name, value);
  }
  response.setHeader("Cache-Control", "no-store");
  if (upstream.body === null) response.end();
  else await pipeline(Readable.fromWeb(upstream.body as Parameters<typeof Readable.fromWeb>[0]), response);
}
