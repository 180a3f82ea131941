import { fileURLToPath } from "node:url";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright";
import { afterAll, beforeAll, expect, test } from "vitest";
import { buildPages } from "../../demo/terminal/pages.ts";
import { type PageServer, startPageServer } from "../../demo/terminal/server.ts";
import { CHROMIUM_FLAGS, ensureBrowser } from "../../scripts/browser.mjs";
import { golden } from "./golden.ts";

const WAIT_MS = 4 * 60_000;

let browser: Browser;
let context: BrowserContext;
let server: PageServer;
/** Requests for model bytes since the last `splice`. */
const modelRequests: string[] = [];

beforeAll(async () => {
  const publicFolder = fileURLToPath(new URL("../../demo/public", import.meta.url));
  server = await startPageServer({ pages: await buildPages("index.html"), mounts: { "/": publicFolder } });
  browser = await chromium.launch({ executablePath: ensureBrowser(), args: CHROMIUM_FLAGS });
  context = await browser.newContext();
  context.setDefaultTimeout(WAIT_MS);
  context.on("request", (request) => {
    if (request.url().includes(".gguf") && request.method() === "GET") modelRequests.push(request.url());
  });
});
afterAll(async () => {
  await browser?.close();
  server?.close();
});

async function openPage(search = ""): Promise<Page> {
  const page = await context.newPage();
  await page.goto(`${server.origin}/${search}`);
  return page;
}

async function becomesReady(page: Page): Promise<void> {
  await page.locator("#generate:enabled").waitFor();
}

async function setNumber(page: Page, label: string, value: string): Promise<void> {
  const settings = page.locator("#prompt-form details");
  if (!(await settings.evaluate((details: HTMLDetailsElement) => details.open))) {
    await page.getByText("Settings").click();
  }
  await page.getByLabel(label).fill(value);
}

test("loads the story model, tells a story, and does not fetch it again", async () => {
  const page = await openPage();
  await becomesReady(page);
  expect(await page.locator("#model-facts").textContent()).toContain("2 of 16 experts");
  expect(modelRequests.splice(0).length).toBeGreaterThan(0);

  await setNumber(page, "Temperature", "0");
  await setNumber(page, "Max tokens", String(golden.tokens.length));
  await page.getByRole("textbox", { name: "Prompt" }).fill(golden.prompt);
  await page.getByRole("button", { name: "Generate" }).click();
  await page.locator("#stats div").first().waitFor();
  expect(await page.locator("#output").textContent()).toBe(golden.prompt + golden.text);
  expect(await page.locator("#stats").textContent()).toContain("tokens/s");
  await page.locator("#install[aria-busy=false]").waitFor({ state: "attached" });
  await page.close();

  modelRequests.length = 0;
  const second = await openPage();
  await becomesReady(second);
  expect(modelRequests).toEqual([]);
  await second.close();
});

test("stops, and goes on when asked again", async () => {
  const page = await openPage();
  await becomesReady(page);
  await setNumber(page, "Max tokens", "400");
  // In the page, so that the story cannot end before a click arrives. More than two tokens.
  await page.evaluate(() => {
    const observer = new MutationObserver(() => {
      if (!/( \w+){6}/.test(document.querySelector("#output .text")?.textContent ?? "")) return;
      observer.disconnect();
      document.querySelector<HTMLButtonElement>("#stop")?.click();
    });
    observer.observe(document.body, { childList: true, subtree: true, characterData: true });
  });
  await page.getByRole("button", { name: "Generate" }).click();
  await page.locator("#output .text", { hasText: /( \w+){6}/ }).waitFor();
  await page.locator("#output[aria-busy=false]").waitFor();
  const stopped = await page.locator("#output").textContent();
  expect(await page.getByRole("alert").isVisible()).toBe(false);

  await setNumber(page, "Max tokens", "2");
  await page.getByRole("textbox", { name: "Prompt" }).press("Control+Enter");
  await page.locator("#stats div").first().waitFor();
  expect(await page.locator("#output").textContent()).not.toBe(stopped);
  await page.close();
});

test("what is no model shows code and remedy, and the story model is still to be had", async () => {
  const page = await openPage("?model=none.gguf");
  await page.getByRole("alert").waitFor();
  expect(await page.locator("#error-code").textContent()).toBe("network");
  expect(await page.locator("#generate").isDisabled()).toBe(true);

  await page.getByText("Open another model").click();
  const file = { name: "bad.gguf", mimeType: "application/octet-stream", buffer: Buffer.from("not a model") };
  await page.getByLabel("File on this device").setInputFiles(file);
  await page.locator("#error-code", { hasText: "bad-model-file" }).waitFor();
  expect(await page.locator("#error-remedy").textContent()).not.toBe("");

  await page.getByRole("button", { name: "Story model" }).click();
  await becomesReady(page);
  expect(await page.getByRole("alert").isVisible()).toBe(false);

  await setNumber(page, "Top-p", "7");
  await page.getByRole("button", { name: "Generate" }).click();
  expect(await page.getByLabel("Top-p").evaluate((field: HTMLInputElement) => field.validity.valid)).toBe(
    false,
  );
  expect(await page.locator("#output").textContent()).toBe("");
  await page.close();
});
