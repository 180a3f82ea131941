import { defineConfig } from "vite";
import { leaveOut } from "./scripts/first_script.ts";
import { bundledLicenses } from "./scripts/licenses.ts";
import { stripShaders } from "./scripts/shaders.ts";

/**
 * The GGUF parser takes a few constants from a package that is mostly code samples for model pages and does not
 * say that importing it does nothing. Saying so halves the library. Reading a property does nothing either: else
 * the parser's table of descriptions would be kept for its keys.
 */
const treeshake = {
  moduleSideEffects: [{ test: /@huggingface[\\/]tasks/, sideEffects: false }],
  propertyReadSideEffects: false as const,
};

const licenses = bundledLicenses("licenses.md");

/** The package that a module is from: entries of packages are called `index` and live in `dist`. */
function packageOf(id: string | null | undefined): string | undefined {
  return /.*[\\/]node_modules[\\/](?:@[^\\/]+[\\/])?([^\\/]+)/.exec(id ?? "")?.[1];
}

/**
 * The library: ES modules with all that they need, so that they run with or without a bundler. Workers and shaders are
 * text in a chunk that `loadModel` imports; what only some models or calls need has chunks of its own.
 */
export default defineConfig({
  publicDir: false,
  plugins: [licenses.write],
  build: {
    target: "es2022",
    lib: { entry: "src/index.ts", formats: ["es"], fileName: "index" },
    rolldownOptions: {
      treeshake,
      output: {
        // A file of its own, so that a bundler which needs errors only can leave out the other.
        codeSplitting: { groups: [{ name: "errors", test: /src[\\/]errors\.ts$/ }] },
        chunkFileNames: ({ name, facadeModuleId }) => `${packageOf(facadeModuleId) ?? name}-[hash].js`,
      },
    },
  },
  worker: {
    format: "es",
    plugins: () => [leaveOut(), stripShaders(), licenses.noteWorker],
    // An inlined worker has no address to import a second chunk from.
    rolldownOptions: { treeshake, output: { codeSplitting: false } },
  },
});
