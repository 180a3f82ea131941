import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, expect, test, vi } from "vitest";
import { LEFT_OUT } from "../../scripts/first_script.ts";
import { leftOut } from "../../src/errors.ts";
import type { ModelFile } from "../../src/source/model_file.ts";
import { familyHeader, familyNames } from "../support/family_fixture.ts";
import { tinyStoriesModel } from "../support/golden.ts";
import { headerOf } from "./plan_file.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
let describeModel: (file: ModelFile) => unknown;

beforeAll(async () => {
  const modules = readdirSync(`${root}src`, { recursive: true, encoding: "utf8" })
    .map((path) => `${root}src/${path.replaceAll("\\", "/")}`)
    .filter((path) => LEFT_OUT.test(path));
  expect(modules.length).toBeGreaterThan(20);
  const actual = await Promise.all(modules.map((path) => import(/* @vite-ignore */ path)));
  vi.resetModules();
  for (const [i, path] of modules.entries()) {
    vi.doMock(path, () => Object.fromEntries(Object.keys(actual[i]).map((name) => [name, leftOut])));
  }
  const { prepare } = await import("../../src/model/load.ts");
  describeModel = (file) => prepare(file, {});
});

test.each<[string, () => Promise<ModelFile>]>([
  ...familyNames().map((name): [string, () => Promise<ModelFile>] => [name, () => familyHeader(name)]),
  ["the demo's model", () => headerOf(tinyStoriesModel())],
])("the first script is enough for %s", async (_, file) => {
  describeModel(await file());
});

test("and not for a file with a rule of its own", async () => {
  const file = await familyHeader("qwen3moe-gqa");
  const metadata = { ...file.metadata, "qwen3moe.router.any_k": true };
  expect(() => describeModel({ ...file, metadata })).toThrow("first script");
});
