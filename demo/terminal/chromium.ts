import process from "node:process";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright";
import { CHROMIUM_FLAGS, ensureBrowser } from "../../scripts/browser.mjs";
import { SluiceError } from "../../src/errors.ts";
import type { Failure } from "../headless_page.ts";
import type { AnyJob, ResultOf } from "../job.ts";
import { type ModelPlace, serveModel } from "./model_place.ts";
import { buildPages } from "./pages.ts";
import { type PageServer, startPageServer } from "./server.ts";

export interface HeadlessOptions {
  readonly place: ModelPlace;
  readonly logitsFile?: string | undefined;
  readonly traceFile?: string | undefined;
  readonly onText: (piece: string) => void;
}

/** One browser profile with one model to load. */
export interface HeadlessBrowser {
  /** Loads the model into a fresh page and runs `job` there. What the store kept stays for the next run. */
  run<J extends AnyJob>(job: J): Promise<ResultOf<J>>;
  close(): Promise<void>;
}

/** Starts headless Chromium and the server its page comes from. Nothing of either outlives `close`. */
export async function openHeadless(options: HeadlessOptions): Promise<HeadlessBrowser> {
  const served = serveModel(options.place);
  const launching = launch();
  let server: PageServer | undefined;
  const close = async () => {
    server?.close();
    await (await launching).close();
  };
  try {
    const pages = await buildPages("headless.html");
    const { logitsFile, traceFile, onText } = options;
    const uploads = {
      ...(logitsFile === undefined ? {} : { "/logits": logitsFile }),
      ...(traceFile === undefined ? {} : { "/trace": traceFile }),
    };
    server = await startPageServer({ ...served, pages, uploads });
    const { origin } = server;
    const context = await (await launching).newContext();
    await context.exposeFunction("sluiceText", onText);
    return { run: (job) => runInPage(context, origin, served.path, job), close };
  } catch (error) {
    await close();
    throw error;
  }
}

function launch(): Promise<Browser> {
  const launching = chromium.launch({
    executablePath: ensureBrowser(),
    args: CHROMIUM_FLAGS,
    headless: true,
    // The terminal ends the run itself, with its own exit code.
    handleSIGINT: false,
  });
  // It is awaited after the build; a failure before that must not count as unhandled.
  launching.catch(() => {});
  return launching;
}

async function runInPage<J extends AnyJob>(
  context: BrowserContext,
  origin: string,
  path: string,
  job: J,
): Promise<ResultOf<J>> {
  const page = await context.newPage();
  if (process.env.SLUICE_DEBUG) {
    page.on("console", (message) => console.error(`[page] ${message.text()}`));
    page.on("pageerror", (error) => console.error(`[page] ${error.stack ?? error.message}`));
  }
  try {
    await page.goto(`${origin}/headless.html`);
    const outcome = await Promise.race([
      page.evaluate(([url, task]) => window.sluiceRun(url, task), [path, job as AnyJob] as const),
      crash(page),
    ]);
    if (outcome.failure !== undefined) throw toError(outcome.failure);
    return outcome.result as ResultOf<J>;
  } finally {
    await page.close().catch(() => {});
  }
}

/** Rejects when the page dies; a page that only closes is not heard of again. */
function crash(page: Page): Promise<never> {
  return new Promise((_, reject) => {
    page.once("crash", () => {
      const remedy = "Try a smaller model or a shorter prompt; the machine may be out of memory.";
      reject(new SluiceError("out-of-memory", "the browser's page crashed", { remedy }));
    });
  });
}

function toError({ code, message, remedy, details, stack }: Failure): Error {
  if (code !== undefined) return SluiceError.fromWire({ code, message, remedy, details, stack });
  const error = new Error(message);
  error.stack = stack;
  return error;
}
