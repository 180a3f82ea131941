import { playwright } from "@vitest/browser-playwright";
import { defineConfig, type TestProjectInlineConfiguration } from "vitest/config";
import { CHROMIUM_FLAGS, findBrowser } from "./scripts/browser.mjs";
import { runtimeDependencies } from "./scripts/dependencies.ts";
import { guides } from "./scripts/guides.ts";
import { serveFiles, testMounts } from "./scripts/serve_files.ts";
import { routeGuides } from "./test/support/guide_routes.ts";

const MINUTE_MS = 60_000;
/** Files of a project take turns, but projects run side by side: a software adapter keeps one core busy. */
const inTurns = { fileParallelism: false, sequence: { groupOrder: 1 } };
const browserTests = "test/**/*.browser.test.ts";
const modelTests = "test/model/*.browser.test.ts";
const executablePath = findBrowser();

/** Each has a browser of its own. */
function browserProject(
  name: string,
  include: string[],
  exclude: string[],
  isolate = true,
): TestProjectInlineConfiguration {
  return {
    extends: true,
    plugins: [serveFiles(testMounts()), guides()],
    optimizeDeps: { include: [...runtimeDependencies(), "fast-check"] },
    worker: { format: "es" },
    server: { host: "127.0.0.1" },
    test: {
      name,
      globalSetup: "test/support/hub_setup.ts",
      include,
      exclude,
      ...inTurns,
      isolate,
      browser: {
        enabled: true,
        headless: true,
        screenshotFailures: false,
        api: { host: "127.0.0.1" },
        provider: playwright({
          launchOptions: {
            args: CHROMIUM_FLAGS,
            ...(executablePath === undefined ? {} : { executablePath }),
          },
        }),
        commands: { routeGuides },
        instances: [{ browser: "chromium" }],
      },
    },
  };
}

export default defineConfig({
  publicDir: false,
  test: {
    // Speed is measured by the benchmark; a slow machine must not fail a test.
    testTimeout: 5 * MINUTE_MS,
    hookTimeout: 5 * MINUTE_MS,
    projects: [
      {
        extends: true,
        test: {
          name: "node",
          environment: "node",
          ...inTurns,
          include: ["test/**/*.test.ts"],
          exclude: [browserTests],
        },
      },
      browserProject("browser", [browserTests], [modelTests]),
      // One page for all files, and so one device, which keeps what they compiled.
      browserProject("models", [modelTests], [], false),
    ],
  },
});
