import { spawn } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

export interface TerminalRun {
  /** null where a signal ended it. */
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface TerminalHooks {
  /** Called with what stdout has so far; may send a signal. */
  readonly onOutput?: (stdout: string, kill: (signal: NodeJS.Signals) => void) => void;
}

/** What `npm run -s generate -- ...args` runs. */
export function generate(args: readonly string[], hooks: TerminalHooks = {}): Promise<TerminalRun> {
  return runEntry("demo/headless.ts", args, hooks);
}

/** What `npm run -s forecast -- ...args` runs. */
export function forecast(args: readonly string[]): Promise<TerminalRun> {
  return runEntry("demo/forecast.ts", args);
}

/** What `npm run -s tokenize -- ...args` runs. */
export function tokenize(args: readonly string[]): Promise<TerminalRun> {
  return runEntry("demo/tokenize.ts", args);
}

function runEntry(entry: string, args: readonly string[], hooks: TerminalHooks = {}): Promise<TerminalRun> {
  const child = spawn(process.execPath, ["scripts/ts.mjs", entry, ...args], { cwd: root });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (piece: string) => {
    stdout += piece;
    hooks.onOutput?.(stdout, (signal) => child.kill(signal));
  });
  child.stderr.setEncoding("utf8").on("data", (piece: string) => {
    stderr += piece;
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (exitCode) => resolve({ exitCode, stdout, stderr }));
  });
}
