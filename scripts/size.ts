/** What of the library a page fetches, minified and gzipped: `npm run -s size`. Nothing is written. */

import process from "node:process";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build, minifySync, type Rolldown } from "vite";

const root = fileURLToPath(new URL("..", import.meta.url));

export interface PartSize {
  readonly file: string;
  /** Fetched with the page, by every `loadModel`, or by what a page asks for beyond that. */
  readonly fetched: "first" | "loadModel" | "on demand";
  /** As a consumer's bundler minifies it: the package keeps the white space that marks of pure calls need. */
  readonly bytes: number;
  readonly gzipped: number;
}

/** Bundles the library, into `outDir` or into memory. */
export async function bundleLibrary(outDir?: string): Promise<PartSize[]> {
  const output = outDir === undefined ? { write: false } : { outDir, emptyOutDir: true };
  const built = await build({
    root,
    configFile: `${root}/vite.config.ts`,
    logLevel: "error",
    build: { ...output, reportCompressedSize: false },
  });
  const files = [built].flat().flatMap((result) => ("output" in result ? result.output : []));
  return measure(files.filter((file) => file.type === "chunk"));
}

function measure(chunks: readonly Rolldown.OutputChunk[]): PartSize[] {
  const byName = new Map(chunks.map((chunk) => [chunk.fileName, chunk]));
  /** The files of chunks that `has` picks, and what they import. */
  const reached = (has: (chunk: Rolldown.OutputChunk) => boolean): ReadonlySet<string> => {
    const all = new Set(chunks.filter(has).map(({ fileName }) => fileName));
    for (const name of all) for (const imported of byName.get(name)?.imports ?? []) all.add(imported);
    return all;
  };
  const first = reached(({ isEntry }) => isEntry);
  const engine = reached(({ moduleIds }) => moduleIds.some((id) => id.includes("sluice.worker.ts")));
  return chunks.map(({ fileName: file, code: written }) => {
    const { code } = minifySync(file, written, { module: true });
    return {
      file,
      fetched: first.has(file) ? "first" : engine.has(file) ? "loadModel" : "on demand",
      bytes: Buffer.byteLength(code),
      gzipped: gzipSync(code).length,
    };
  });
}

/** Gzipped bytes that a page has fetched when `loadModel` starts to load: static imports and the workers. */
export function sizeOfLoadModel(parts: readonly PartSize[]): number {
  return parts.reduce((sum, { fetched, gzipped }) => sum + (fetched === "on demand" ? 0 : gzipped), 0);
}

export function printSizes(parts: readonly PartSize[]): void {
  for (const { file, fetched, bytes, gzipped } of parts) {
    console.log(
      `minified ${kilobytes(bytes)} kB, gzipped ${kilobytes(gzipped)} kB  ${fetched.padEnd(9)}  ${file}`,
    );
  }
  console.log(`loadModel: ${kilobytes(sizeOfLoadModel(parts)).trim()} kB gzipped`);
}

const kilobytes = (bytes: number) => (bytes / 1000).toFixed(1).padStart(6);

if (process.argv[1] === fileURLToPath(import.meta.url)) printSizes(await bundleLibrary());
