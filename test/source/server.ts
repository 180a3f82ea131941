import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A request as the server saw it. `end` is inclusive. */
export interface Asked {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly range: { readonly start: number; readonly end: number } | undefined;
  /** How many requests came before it. */
  readonly nth: number;
}

export type Answer = (asked: Asked, response: ServerResponse) => void;

export interface TestServer extends AsyncDisposable {
  readonly url: string;
  readonly asked: readonly Asked[];
}

/** An HTTP server on 127.0.0.1 that leaves every answer to `answer`. */
export async function startServer(answer: Answer, path = "/model.gguf"): Promise<TestServer> {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    const match = request.headers.range?.match(/^bytes=(\d+)-(\d+)$/);
    const range = match ? { start: Number(match[1]), end: Number(match[2]) } : undefined;
    const one = { method: request.method ?? "", url: request.url ?? "", range, nth: asked.length };
    asked.push(one);
    answer(one, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}${path}`,
    asked,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Answers as a sound server that knows ranges. */
export function ranges(file: Uint8Array): Answer {
  return (asked, response) => {
    const { range } = asked;
    if (!range) return whole(file)(asked, response);
    if (range.start >= file.byteLength) {
      response.writeHead(416, { "Content-Range": `bytes */${file.byteLength}` }).end();
      return;
    }
    const part = file.subarray(range.start, range.end + 1);
    response.writeHead(206, {
      "Content-Length": part.byteLength,
      "Content-Range": `bytes ${range.start}-${range.start + part.byteLength - 1}/${file.byteLength}`,
    });
    response.end(part);
  };
}

/** Answers as a sound server that ignores ranges. */
export function whole(file: Uint8Array): Answer {
  return ({ method }, response) => {
    response.writeHead(200, { "Content-Length": file.byteLength });
    response.end(method === "HEAD" ? undefined : file);
  };
}

/** Announces `file`, sends the first `bytes` of it and cuts the connection. */
export function cutAfter(response: ServerResponse, file: Uint8Array, bytes: number): void {
  response.write(file.subarray(0, bytes), () => response.destroy());
}
