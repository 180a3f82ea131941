import { defineConfig } from "vite";

/** The library: one ES module in which workers and shaders are text, so that a consumer's bundler needs no plugin. */
export default defineConfig({
  publicDir: false,
  build: {
    target: "es2022",
    sourcemap: false,
    lib: { entry: "src/index.ts", formats: ["es"], fileName: "index" },
  },
  worker: {
    format: "es",
    // An inlined worker has no address to import a second chunk from.
    rolldownOptions: { output: { codeSplitting: false } },
  },
});
