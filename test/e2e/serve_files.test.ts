import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { mountedPath, parseRange, sendFile } from "../../scripts/serve_files.ts";

const CONTENT = "0123456789";

describe("parseRange", () => {
  test.each([
    ["bytes=0-3", { first: 0, last: 3 }],
    ["bytes=4-", { first: 4, last: 9 }],
    ["bytes=-3", { first: 7, last: 9 }],
    ["bytes=-30", { first: 0, last: 9 }],
    ["bytes=8-100", { first: 8, last: 9 }],
    ["bytes=10-", "unsatisfiable"],
    ["bytes=-0", "unsatisfiable"],
    ["bytes=5-4", "whole"],
    ["bytes=-", "whole"],
    ["bytes=0-1,3-4", "whole"],
    ["lines=0-1", "whole"],
    [undefined, "whole"],
  ] as const)("%s of ten bytes", (header, expected) => {
    expect(parseRange(header, CONTENT.length)).toEqual(expected);
  });

  test("an empty file satisfies no range", () => {
    expect(parseRange("bytes=0-", 0)).toBe("unsatisfiable");
  });
});

describe("mountedPath", () => {
  const mounts = { "/files/": resolve("/data") };

  test("maps a prefix to its folder", () => {
    expect(mountedPath(mounts, "/files/a/b%20c?x=1")).toBe(resolve("/data/a/b c"));
    expect(mountedPath(mounts, "/other/a")).toBeUndefined();
  });

  test("does not leave the folder", () => {
    expect(mountedPath(mounts, "/files/..%2fsecret")).toBeUndefined();
    expect(mountedPath(mounts, "/files/%2fetc%2fpasswd")).toBeUndefined();
  });
});

describe("sendFile", () => {
  const folder = mkdtempSync(join(tmpdir(), "sluice-serve-"));
  const file = join(folder, "ten");
  let server: Server;
  let url = "";

  beforeAll(async () => {
    writeFileSync(file, CONTENT);
    server = createServer((request, response) =>
      sendFile(request, response, join(folder, request.url ?? "")),
    );
    await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => {
    server.close();
    rmSync(folder, { recursive: true });
  });

  const get = (headers: Record<string, string>, method = "GET", path = "/ten") =>
    fetch(url + path, { method, headers });

  test("the whole file", async () => {
    const response = await get({});
    expect(response.status).toBe(200);
    expect(response.headers.get("content-length")).toBe("10");
    expect(response.headers.get("accept-ranges")).toBe("bytes");
    expect(await response.text()).toBe(CONTENT);
  });

  test("a range", async () => {
    const response = await get({ Range: "bytes=2-4" });
    expect(response.status).toBe(206);
    expect(response.headers.get("content-range")).toBe("bytes 2-4/10");
    expect(response.headers.get("content-length")).toBe("3");
    expect(await response.text()).toBe("234");
  });

  test("a range past the end", async () => {
    const response = await get({ Range: "bytes=10-11" });
    expect(response.status).toBe(416);
    expect(response.headers.get("content-range")).toBe("bytes */10");
  });

  test("HEAD has the headers and no body", async () => {
    const response = await get({}, "HEAD");
    expect(response.headers.get("content-length")).toBe("10");
    expect(await response.text()).toBe("");
  });

  test("If-Range with another version gets the whole file", async () => {
    const etag = (await get({}, "HEAD")).headers.get("etag") ?? "";
    expect((await get({ Range: "bytes=0-0", "If-Range": etag })).status).toBe(206);
    expect((await get({ Range: "bytes=0-0", "If-Range": '"old"' })).status).toBe(200);
  });

  test("what is not there, and what may not be done", async () => {
    expect((await get({}, "GET", "/none")).status).toBe(404);
    expect((await get({}, "GET", "/")).status).toBe(404);
    expect((await get({}, "POST")).status).toBe(405);
  });
});
