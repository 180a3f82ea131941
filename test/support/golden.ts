/**
 * Where the golden data lies, and how to read and compare it. Works under Node and in a browser test: files
 * are URLs, `file:` ones under Node and the test server's in a page (the mounts of `scripts/serve_files.ts`).
 */

const here = new URL(import.meta.url);
const isPage = here.protocol !== "file:";

/** `SLUICE_SHARED` names the shared folder where it is not beside the repository, as for the test server. */
const sharedFolder = (): URL => {
  const folder = process.env.SLUICE_SHARED;
  return folder === undefined ? new URL("../../../shared/", here) : new URL(`file://${folder}/`);
};

/** A file the repository carries in `test/fixtures/`. */
export const fixture = (name: string): URL => new URL(`${isPage ? "/" : "../"}fixtures/${name}`, here);

/** A file of the shared folder, which is not always there: ask `exists` first. */
export const shared = (path: string): URL =>
  isPage ? new URL(`/shared/${path}`, here) : new URL(path, sharedFolder());

/** The model that the demo page serves: tiny-stories-moe in Q4_K_M. */
export const tinyStoriesModel = (): URL =>
  new URL(`${isPage ? "/demo" : "../../demo/public"}/tiny-stories-moe-Q4_K_M.gguf`, here);

/** One prompt, its greedy continuation, and where known the logits of every prompt position. */
export interface GoldenCase {
  readonly tokens: readonly number[];
  readonly greedy: readonly number[];
  /** tokens × vocabulary. */
  readonly logits?: Float32Array;
}

/** `<name>.json` and `<name>.logits.f32` beside each other, as in `golden/archs` and `golden/quants`. */
export async function goldenCase(name: URL): Promise<GoldenCase> {
  const { prompt, greedy } = await readJson<{ prompt: number[]; greedy: number[] }>(new URL(`${name}.json`));
  return { tokens: prompt, greedy, logits: await readFloats(new URL(`${name}.logits.f32`)) };
}

/** The cases of one weight format of tiny-stories-moe; only the first has logits. */
export async function tinyStoriesCases(name: URL): Promise<GoldenCase[]> {
  const { cases } = await readJson<{ cases: GoldenCase[] }>(new URL(`${name}.json`));
  const logits = await readFloats(new URL(`${name}.logits.f32`));
  return cases.map(({ tokens, greedy }, i) => (i === 0 ? { tokens, greedy, logits } : { tokens, greedy }));
}

/** 512 weights of one tensor type, as the bytes in a file and as the floats they stand for. */
export interface GoldenBlocks {
  readonly name: string;
  readonly ggmlType: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly values: Float32Array<ArrayBuffer>;
}

export async function goldenBlocks(url: URL): Promise<GoldenBlocks[]> {
  const file = await readJson<Record<string, { ggml_type: number; hex: string; values: number[] }>>(url);
  return Object.entries(file).map(([name, { ggml_type, hex, values }]) => ({
    name,
    ggmlType: ggml_type,
    bytes: Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16)),
    values: Float32Array.from(values),
  }));
}

/** Normalised mean squared error, Σ(a − b)² / Σb². NaN, which no limit admits, if the lengths differ. */
export function nmse(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.NaN;
  let error = 0;
  let power = 0;
  for (let i = 0; i < expected.length; i++) {
    const b = expected[i] as number;
    error += ((actual[i] as number) - b) ** 2;
    power += b * b;
  }
  return error / power;
}

export async function readBytes(url: URL): Promise<Uint8Array<ArrayBuffer>> {
  if (url.protocol === "file:") {
    const { readFile } = await nodeFiles();
    return new Uint8Array(await readFile(url));
  }
  const response = await fetch(url);
  if (!isFile(response)) throw new Error(`${url}: HTTP ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

export async function readFloats(url: URL): Promise<Float32Array<ArrayBuffer>> {
  return new Float32Array((await readBytes(url)).buffer);
}

export async function readJson<T>(url: URL): Promise<T> {
  return JSON.parse(new TextDecoder().decode(await readBytes(url))) as T;
}

export async function exists(url: URL): Promise<boolean> {
  if (url.protocol === "file:") {
    const { stat } = await nodeFiles();
    return stat(url).then(
      () => true,
      () => false,
    );
  }
  return isFile(await fetch(url, { method: "HEAD" }));
}

// A dev server answers an unknown path with its index page.
const isFile = (response: Response): boolean =>
  response.ok && !(response.headers.get("content-type") ?? "").startsWith("text/html");

// Not a literal, so that a bundler for the browser leaves it alone.
const nodeFiles = async (): Promise<typeof import("node:fs/promises")> =>
  import(/* @vite-ignore */ ["node:fs", "promises"].join("/"));
