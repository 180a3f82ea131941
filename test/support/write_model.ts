/**
 * `node scripts/ts.mjs test/support/write_model.ts NAME FOLDER`: a small random model of a family without public weights,
 * as a folder with the published names of its tensors. NAME is one of those below.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { adamoeFolder } from "./adamoe_folder.ts";
import { moePlusPlusFolder } from "./moe_plus_plus_folder.ts";

const MODELS: Readonly<Record<string, () => readonly File[]>> = {
  adamoe: adamoeFolder,
  "moe-plus-plus": () => moePlusPlusFolder({ experts: 12, layers: 2 }),
};

const [name = "", folder] = process.argv.slice(2);
const files = Object.hasOwn(MODELS, name) ? MODELS[name]?.() : undefined;
if (!files || folder === undefined) {
  console.error(`usage: write_model.ts NAME FOLDER, NAME one of ${Object.keys(MODELS).join(", ")}`);
  process.exit(2);
}
await mkdir(folder, { recursive: true });
for (const file of files) await writeFile(join(folder, file.name), file.stream());
