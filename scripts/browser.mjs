/**
 * Finds a Chromium for the tests, the terminal and the benchmark, and installs one where there is none.
 * Run as a script it does so and says which browser it found.
 */
import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright";

const INSTALL_LIMIT_MS = 10 * 60_000;
/** Playwright tries several mirrors several times; an unreachable one must not look like a hang. */
const CONNECT_LIMIT_MS = 8_000;

const PATH_NAMES = [
  "chromium",
  "chromium-browser",
  "google-chrome",
  "google-chrome-stable",
  "google-chrome-beta",
  "microsoft-edge",
];

/** Where installers put a browser without putting it on the PATH. */
function usualPlaces() {
  if (process.platform === "darwin") {
    return [
      "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
      "/Applications/Chromium.app/Contents/MacOS/Chromium",
      "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    ];
  }
  if (process.platform !== "win32") return ["/opt/google/chrome/chrome"];
  const roots = ["PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA"].map((name) => process.env[name]);
  return roots
    .filter((root) => root !== undefined)
    .flatMap((root) => [
      join(root, "Google/Chrome/Application/chrome.exe"),
      join(root, "Chromium/Application/chrome.exe"),
      join(root, "Microsoft/Edge/Application/msedge.exe"),
    ]);
}

/** @param {string} path */
function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function onPath() {
  const folders = (process.env.PATH ?? "").split(delimiter).filter((folder) => folder !== "");
  const suffix = process.platform === "win32" ? ".exe" : "";
  return PATH_NAMES.flatMap((name) => folders.map((folder) => join(folder, name + suffix)));
}

/**
 * A browser that is there but lacks a system library is no browser. Only Linux unbundles libraries, and on
 * Windows `--version` would open a window.
 * @param {string} path
 */
function starts(path) {
  if (process.platform !== "linux") return true;
  const { status } = spawnSync(path, ["--version"], { stdio: "ignore", timeout: 20_000 });
  return status === 0;
}

/**
 * The first browser that starts: `SLUICE_CHROMIUM`, Playwright's own, the PATH, the usual places.
 * @returns {string | undefined} path of its executable
 */
export function findBrowser() {
  const chosen = process.env.SLUICE_CHROMIUM;
  const places = chosen ? [chosen] : [chromium.executablePath(), ...onPath(), ...usualPlaces()];
  return places.find((path) => isExecutable(path) && starts(path));
}

/**
 * Chromium switches that give WebGPU without a display. `SLUICE_ADAPTER=gpu` asks for the machine's own adapter
 * in place of the software one.
 */
export const CHROMIUM_FLAGS = [
  "--no-sandbox",
  "--enable-unsafe-webgpu",
  ...(process.env.SLUICE_ADAPTER === "gpu"
    ? ["--enable-features=Vulkan", "--ignore-gpu-blocklist"]
    : ["--use-webgpu-adapter=swiftshader"]),
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

function isDebian() {
  if (!existsSync("/etc/os-release")) return false;
  return /^ID=debian\s*$/m.test(readFileSync("/etc/os-release", "utf8"));
}

/**
 * @param {string} command
 * @param {string[]} args
 * @param {Record<string, string>} [environment]
 */
function tried(command, args, environment = {}) {
  console.error(`$ ${command} ${args.join(" ")}`);
  const { status, error } = spawnSync(command, args, {
    stdio: ["ignore", 2, 2],
    timeout: INSTALL_LIMIT_MS,
    env: { ...process.env, ...environment },
  });
  return status === 0 && error === undefined;
}

function installWithApt() {
  const quiet = { DEBIAN_FRONTEND: "noninteractive" };
  tried("apt-get", ["update", "-q"], quiet);
  return tried("apt-get", ["install", "-q", "-y", "--no-install-recommends", "chromium"], quiet);
}

/** @param {boolean} isRoot */
function installWithPlaywright(isRoot) {
  const cli = fileURLToPath(new URL("./cli.js", import.meta.resolve("playwright/package.json")));
  const systemLibraries = isRoot && process.platform === "linux" ? ["--with-deps"] : [];
  return tried(process.execPath, [cli, "install", "--no-shell", ...systemLibraries, "chromium"], {
    PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT: String(CONNECT_LIMIT_MS),
  });
}

/**
 * A browser that starts; installs one where there is none.
 * @returns {string} path of its executable
 */
export function ensureBrowser() {
  const found = findBrowser();
  if (found !== undefined) return found;
  const chosen = process.env.SLUICE_CHROMIUM;
  if (chosen) throw new Error(`SLUICE_CHROMIUM=${chosen} is no browser that starts.`);
  console.error("No Chromium that starts was found; installing one.");
  const isRoot = process.getuid?.() === 0;
  // Debian's package brings its libraries along; Playwright's download needs them from apt all the same.
  if (!(isRoot && isDebian() && installWithApt())) installWithPlaywright(isRoot);
  const installed = findBrowser();
  if (installed !== undefined) return installed;
  throw new Error(
    "Sluice needs a Chromium (or Chrome, or Edge) of version 113 or later and could not install one.\n" +
      "Install it with one of\n" +
      "  npx playwright install --with-deps chromium\n" +
      "  apt-get install chromium        (Debian, as root)\n" +
      "or name one that is there: SLUICE_CHROMIUM=/path/to/chrome",
  );
}

if (process.argv[1] !== undefined && fileURLToPath(import.meta.url) === process.argv[1]) {
  try {
    console.log(`browser: ${ensureBrowser()}`);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
