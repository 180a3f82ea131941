import { readFileSync } from "node:fs";

interface PackageJson {
  readonly dependencies: Readonly<Record<string, string>>;
}

/**
 * The run-time dependencies. A Vite server that learns of one only when a page imports it reloads that page, so
 * the servers are told of all of them at the start.
 */
export function runtimeDependencies(): string[] {
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  return Object.keys((JSON.parse(text) as PackageJson).dependencies);
}
