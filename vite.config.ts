import { defineConfig } from "vite";

/**
 * The GGUF parser takes a few constants from a package that is mostly code samples for model pages and does not
 * say that importing it does nothing. Saying so halves the library.
 */
const treeshake = { moduleSideEffects: [{ test: /@huggingface[\\/]tasks/, sideEffects: false }] };

/**
 * The library: an ES module in which workers and shaders are text, so that a consumer's bundler needs no plugin, and
 * beside it what only chats load.
 */
export default defineConfig({
  publicDir: false,
  build: {
    target: "es2022",
    lib: { entry: "src/index.ts", formats: ["es"], fileName: "index" },
    rolldownOptions: { treeshake },
  },
  worker: {
    format: "es",
    // An inlined worker has no address to import a second chunk from.
    rolldownOptions: { treeshake, output: { codeSplitting: false } },
  },
});
