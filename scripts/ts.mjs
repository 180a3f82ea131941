/**
 * Runs a TypeScript entry under Node through Vite, so that `?raw` imports mean there what they mean in a build:
 * `node scripts/ts.mjs entry.ts [arguments]`. The entry is awaited, and exit codes are its own.
 */
import { resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { runnerImport } from "vite";

const root = fileURLToPath(new URL("..", import.meta.url));
const entry = process.argv[2];
if (entry === undefined) {
  console.error("usage: node scripts/ts.mjs entry.ts [arguments]");
  process.exit(2);
}
process.argv.splice(1, 2, resolve(entry));
try {
  await runnerImport(resolve(entry), { root, configFile: false, logLevel: "error" });
} catch (error) {
  console.error(error);
  process.exit(1);
}
