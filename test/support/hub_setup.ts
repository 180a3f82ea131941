/** Starts the hub that browser tests load from. They reach it, and change what it does, over the network. */
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestProject } from "vitest/node";
import { type HubRequest, startHub } from "./hub_server.ts";
import { timeMoeFolder } from "./time_moe_folder.ts";

declare module "vitest" {
  interface ProvidedContext {
    hub: {
      readonly url: string;
      readonly control: string;
      readonly token: string;
      readonly commits: readonly [string, string];
    };
  }
}

/** What a POST to `control` may change; it answers with the requests since the last one. */
export interface HubControl {
  readonly isOffline?: boolean;
  /** Of the branch `main`. */
  readonly commit?: string;
}
export type HubLog = readonly HubRequest[];

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const model = readFileSync(new URL("../fixtures/qwen3moe-moe.gguf", import.meta.url));
  const files = { "imatrix.gguf": model.subarray(0, 100), "README.md": model, "small-Q8_0.gguf": model };
  const commits = ["1".repeat(40), "2".repeat(40)] as const;
  const branches: Record<string, string> = { main: commits[0] };
  const token = "a-token-that-no-other-origin-may-see";
  const repo = { branches, token, commits: { [commits[0]]: files, [commits[1]]: files } };
  const guides = { branches: { main: commits[0] }, commits: { [commits[0]]: files } };
  const hub = await startHub({
    "owner/small": repo,
    "owner/repo": guides,
    "owner/private-repo": { ...guides, token },
    "Maple728/TimeMoE-50M": { branches: { main: commits[0] }, commits: { [commits[0]]: await forecaster() } },
  });
  const control = createServer(async (request, response) => {
    response.setHeader("Access-Control-Allow-Origin", "*");
    const text = (await request.toArray()).join("");
    const change: HubControl = JSON.parse(text || "{}");
    hub.isOffline = change.isOffline ?? hub.isOffline;
    if (change.commit !== undefined) branches.main = change.commit;
    response.end(JSON.stringify(hub.asked.splice(0)));
  });
  await new Promise<void>((resolve) => control.listen(0, "127.0.0.1", resolve));
  const { port } = control.address() as AddressInfo;
  project.provide("hub", { url: hub.url, control: `http://127.0.0.1:${port}`, token, commits });
  return async () => {
    control.close();
    control.closeAllConnections();
    await hub[Symbol.asyncDispose]();
  };
}

/** A small one for the guide, under the name of the one that it tells of. */
async function forecaster(): Promise<Record<string, Uint8Array>> {
  const files = timeMoeFolder({ horizons: [1, 8, 32, 64] });
  const bytes = files.map(async (file) => [file.name, new Uint8Array(await file.arrayBuffer())] as const);
  return Object.fromEntries(await Promise.all(bytes));
}
