import { fileURLToPath } from "node:url";
import { build, type Rolldown } from "vite";

/** Built files by path from the site's root, such as `headless.html`. */
export type Pages = ReadonlyMap<string, string | Uint8Array>;

/**
 * Builds one page of the demo into memory. A build takes half a second and shares nothing on disk, so any number
 * of processes may do it at once in a fresh checkout, which a development server's dependency cache does not allow.
 */
export async function buildPages(page: "index.html" | "headless.html"): Promise<Pages> {
  const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
  const built = await build({
    configFile: path("../vite.config.ts"),
    root: path(".."),
    publicDir: false,
    logLevel: "error",
    build: {
      write: false,
      minify: false,
      reportCompressedSize: false,
      rolldownOptions: { input: path(`../${page}`) },
    },
  });
  const outputs = [built].flat().filter((output): output is Rolldown.RolldownOutput => "output" in output);
  return new Map(
    outputs
      .flatMap(({ output }) => output)
      .map((file) => [file.fileName, file.type === "chunk" ? file.code : file.source]),
  );
}
