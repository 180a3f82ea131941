import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { AxeBuilder } from "@axe-core/playwright";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright";
import { afterAll, beforeAll, expect, test } from "vitest";
import { buildPages, type Pages } from "../../demo/terminal/pages.ts";
import { type PageServer, startPageServer } from "../../demo/terminal/server.ts";
import { CHROMIUM_FLAGS, ensureBrowser } from "../../scripts/browser.mjs";
import { GgufEdit } from "../model/gguf_edit.ts";
import { golden } from "./golden.ts";

const WAIT_MS = 4 * 60_000;
const STORY = "tiny-stories-moe-Q4_K_M.gguf";
const publicFolder = fileURLToPath(new URL("../../demo/public", import.meta.url));

let browser: Browser;
let context: BrowserContext;
let server: PageServer;
let pages: Pages;
/** With the story model, shared by the tests in their order: loading a model is most of the time they take. */
let page: Page;
let edited: string;
/** Requests for model bytes since the last `splice`. */
const modelRequests: string[] = [];
/** What the pages said of broken policies and of errors that nobody caught. */
const complaints: string[] = [];

beforeAll(async () => {
  edited = mkdtempSync(join(tmpdir(), "sluice-page-"));
  const mounts = { "/edited/": edited, "/": publicFolder };
  pages = await buildPages("index.html");
  server = await startPageServer({ pages, mounts });
  browser = await chromium.launch({ executablePath: ensureBrowser(), args: CHROMIUM_FLAGS });
  context = await browser.newContext();
  context.setDefaultTimeout(WAIT_MS);
  context.on("request", (request) => {
    if (request.url().includes(".gguf") && request.method() === "GET") modelRequests.push(request.url());
  });
  context.on("console", (message) => {
    if (/Content Security Policy/.test(message.text())) complaints.push(message.text());
  });
  context.on("weberror", (error) => complaints.push(String(error.error())));
});
afterAll(async () => {
  await browser?.close();
  server?.close();
  rmSync(edited, { recursive: true, force: true });
});

const said = (at: number) => page.locator("#messages > li").nth(at).locator(".body");
const button = (name: string) => page.getByRole("button", { name, exact: true });

async function becomesReady(): Promise<void> {
  await page.locator("#send:enabled").waitFor();
}

async function ends(): Promise<void> {
  await page.locator("#messages[aria-busy=false]").waitFor();
}

/** Writes into a field of the settings, which are folded at first. */
async function set(label: string, value: string): Promise<void> {
  const settings = page.locator("#chat > details");
  if ((await settings.getAttribute("open")) === null) await settings.getByText("How it writes").click();
  await settings.getByLabel(label).fill(value);
}

/** In the page, so that an answer cannot end before a click arrives. More than two tokens. */
async function stopOnceItWrites(): Promise<void> {
  await page.evaluate(() => {
    const observer = new MutationObserver(() => {
      const writing = document.querySelector(".writing .body")?.textContent ?? "";
      if (!/( \w+){6}/.test(writing)) return;
      observer.disconnect();
      document.querySelector<HTMLButtonElement>("#stop")?.click();
    });
    observer.observe(document.body, { childList: true, subtree: true, characterData: true });
  });
}

/** Rules broken badly enough to keep somebody out. */
async function barriers(shown: Page): Promise<string[]> {
  const { violations } = await new AxeBuilder({ page: shown }).analyze();
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target).join(" ")}`);
}

/** How many colours a canvas shows. */
async function colours(selector: string): Promise<number> {
  return page.locator(selector).evaluate((canvas: HTMLCanvasElement) => {
    const { width, height } = canvas;
    const data = canvas.getContext("2d")?.getImageData(0, 0, width, height).data ?? new Uint8Array();
    return new Set(new Uint32Array(data.buffer as ArrayBuffer)).size;
  });
}

test.each([
  ["no API", "Object.defineProperty(Navigator.prototype, 'gpu', { value: undefined })", "no WebGPU"],
  ["no adapter", "GPU.prototype.requestAdapter = async () => null", "gives no GPU"],
])("without WebGPU (%s) the page says what to do", async (_, script, title) => {
  const other = await context.newPage();
  await other.addInitScript(script);
  await other.goto(server.origin);
  await other.getByRole("heading", { name: title }).waitFor();
  expect(await other.locator("#no-webgpu-steps li").allTextContents()).toContainEqual(
    expect.stringMatching(/chrome:\/\//),
  );
  expect(await other.locator("#send").isDisabled()).toBe(true);
  await other.close();
});

test("what is no model shows code and remedy; a load can be cancelled", async () => {
  page = await context.newPage();
  await page.goto(`${server.origin}/?model=none.gguf`);
  const alert = page.locator("#model-error");
  await alert.getByText("network", { exact: true }).waitFor();
  expect(await page.locator("#send").isDisabled()).toBe(true);

  const file = { name: "bad.gguf", mimeType: "application/octet-stream", buffer: Buffer.from("not a model") };
  await page.getByLabel("Files on this device").setInputFiles(file);
  await alert.getByText("bad-model-file").waitFor();
  expect(await alert.locator(".remedy").textContent()).not.toBe("");

  await button("Story model, 12 MB").click();
  await button("Cancel").click();
  await page.getByText("None loaded").waitFor();
  expect(await alert.isVisible()).toBe(false);
});

const hostile = [
  "<script>globalThis.pwned = 1</script>",
  "<img src=x onerror='globalThis.pwned = 1'>",
  "<iframe srcdoc='<p>'></iframe>",
  "<form action='https://a.example'><button>b</button></form>",
  "a <style>body { display: none }</style>",
  "[a](javascript:globalThis.pwned=1) [b](data:text/html,x) [c](vbscript:x)",
  "![alt](https://a.example/x.png)",
  '[a](https://a.example/"onclick="globalThis.pwned=1)',
  '```"><img/src=x/onerror=globalThis.pwned=1>\na\n```',
];

test("Markdown becomes elements, and nothing in it runs, loads or submits", async () => {
  const chunk = [...pages.keys()].find((name) => /markdown/.test(name));
  await page.evaluate(`import("./${chunk}").then(({ MarkdownView }) => {
    const root = document.body.appendChild(document.createElement("div"));
    root.id = "shown";
    const view = new MarkdownView(root);
    globalThis.show = (text) => view.show(text);
  })`);
  const show = (text: string) => page.evaluate(`show(${JSON.stringify(text)})`);
  const shown = page.locator("#shown");
  for (const text of hostile) {
    await show(text);
    expect(await shown.locator("script, img, iframe, form, style, object, svg").count()).toBe(0);
    const attributes = await shown.evaluate((root) =>
      [...root.querySelectorAll("*")].flatMap((element) =>
        [...element.attributes].map(({ name, value }) => `${name}=${value}`),
      ),
    );
    for (const attribute of attributes) expect(attribute).not.toMatch(/^(on|style|src)|^href=(?!https:)/);
  }
  expect(await page.evaluate("globalThis.pwned")).toBeUndefined();

  await show("# Head\n\nsee https://a.example/b\n\n| x |\n| - |\n| 1 |\n\n```js\nlet a = '<b>';\n```");
  expect(await shown.locator("h4").textContent()).toBe("Head");
  expect(await shown.locator("a").getAttribute("rel")).toContain("noopener");
  expect(await shown.locator("td").textContent()).toBe("1");
  expect(await shown.locator("pre").textContent()).toBe("let a = '<b>';\n");
  expect(await shown.getByRole("button", { name: "Copy code" }).count()).toBe(1);
  await show("3. three\n\n| x |\n| -: |\n| 1 |");
  expect(await shown.locator("ol").getAttribute("start")).toBe("3");
  expect(await shown.locator("td").getAttribute("align")).toBe("right");
  // A block that did not change stays, with what the reader selected in it.
  await show("one\n\ntw");
  await shown.evaluate((root) => root.firstElementChild?.setAttribute("data-kept", ""));
  await show("one\n\ntwo *three*");
  expect(await shown.locator("[data-kept]").textContent()).toBe("one\n");
  expect(await shown.locator("em").textContent()).toBe("three");
  await shown.evaluate((root) => root.remove());
});

test("loads the story model and tells what llama.cpp tells", async () => {
  await page.evaluate(() => {
    const seen: string[] = [];
    Object.assign(window, { seen });
    new MutationObserver(() => {
      seen.push(document.querySelector("#progress")?.textContent?.replace(/\s+/g, " ") ?? "");
    }).observe(document.querySelector("#progress") as Element, { childList: true, subtree: true });
  });
  await button("Story model, 12 MB").click();
  await becomesReady();
  const seen = (await page.evaluate("seen.join('\\n')")) as string;
  expect(seen).toContain("Reading the header");
  expect(seen).toMatch(/Loading what every token needs.* of 12\.\d MB/);
  expect(await page.locator("#model-facts").textContent()).toContain("2 of 16 a token");
  expect(await page.locator("#text-mode").isVisible()).toBe(true);
  expect(modelRequests.splice(0).length).toBeGreaterThan(0);

  await set("Top-p", "7");
  await button("Continue").click();
  const topP = page.getByLabel("Top-p", { exact: true });
  expect(await topP.evaluate((field: HTMLInputElement) => field.validity.valid)).toBe(false);
  expect(await page.locator("#messages > li").count()).toBe(0);

  await set("Top-p", "1");
  await set("Temperature", "0");
  await set("Max tokens", String(golden.tokens.length));
  await page.getByLabel("Text to continue").fill(golden.prompt);
  await page.getByLabel("Text to continue").press("Control+Enter");
  await said(1).waitFor();
  await ends();
  expect(await said(0).textContent()).toBe(golden.prompt);
  expect(await said(1).textContent()).toBe(golden.text);
  expect(await page.locator("#announcer").textContent()).toContain(golden.text.trim());
});

test("shows which experts work, flat, in space and in words, and what it measured", async () => {
  await page.locator("#stats", { hasText: /\d tokens\/s/ }).waitFor();
  await page.locator("#expert-summary", { hasText: "96 experts in 6 layers" }).waitFor();
  expect(await page.locator("#expert-summary").textContent()).toMatch(/tokens used \d+ of them/);
  expect(await colours("#expert-map")).toBeGreaterThan(4);
  await page.locator("#expert-map").focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  expect(await page.locator("#expert-readout").textContent()).toMatch(/^Layer 0, expert 1: \d+ uses/);
  await page.getByText("By layer").click();
  await page.locator("#expert-table tbody tr").nth(5).waitFor();

  await page.getByText("3-D").click();
  await expect.poll(() => colours("#expert-map-3d"), { timeout: WAIT_MS }).toBeGreaterThan(8);
  const before = await page
    .locator("#expert-map-3d")
    .evaluate((canvas: HTMLCanvasElement) => canvas.toDataURL());
  await page.locator("#expert-map-3d").press("ArrowLeft");
  await expect
    .poll(() => page.locator("#expert-map-3d").evaluate((canvas: HTMLCanvasElement) => canvas.toDataURL()))
    .not.toBe(before);
  await page.getByText("Map", { exact: true }).click();
});

test("experts are chosen as the page says, from the next token on, and as the model has it again", async () => {
  await page.getByText("How they are chosen").click();
  const most = page.getByLabel("Experts per token");
  expect(await most.inputValue()).toBe("2");
  expect(await most.getAttribute("max")).toBe("2");
  await most.press("ArrowDown");
  await page.locator("#announcer", { hasText: "From the next token on" }).waitFor();
  expect(await most.inputValue()).toBe("1");
  await page.getByLabel("Temperature of routing").fill("0");
  await page.getByLabel("Least score").focus();
  expect(
    await page.getByLabel("Temperature of routing").evaluate((c: HTMLInputElement) => c.validity.valid),
  ).toBe(false);
  await button("As the model has it").click();
  await expect.poll(() => most.inputValue(), { timeout: WAIT_MS }).toBe("2");
  expect(await page.getByLabel("Temperature of routing").inputValue()).toBe("1");
  expect(await barriers(page)).toEqual([]);
});

test("stops, regenerates and edits, each beside what was there", async () => {
  await set("Max tokens", "400");
  await stopOnceItWrites();
  await page.getByLabel("Text to continue").fill("\n\nthe next day");
  await button("Continue").click();
  await said(3).waitFor();
  await ends();
  const stopped = await said(3).textContent();
  await page.locator("#messages .note", { hasText: "Stopped." }).waitFor();
  expect(await page.locator("#chat-error").isVisible()).toBe(false);

  await set("Max tokens", "2");
  await button("Regenerate").last().click();
  await page.locator(".count", { hasText: "2 / 2" }).waitFor();
  await ends();
  expect(stopped?.startsWith((await said(3).textContent()) ?? "-")).toBe(true);
  await button("Version before").click();
  expect(await said(3).textContent()).toBe(stopped);

  await button("Edit").first().click();
  await page.getByLabel("Your message, changed").fill("a dog");
  await button("Send changed").click();
  await page.locator("#messages > li").nth(2).waitFor({ state: "detached" });
  await ends();
  expect(await said(0).textContent()).toBe("a dog");
  expect(await page.locator("#messages > li").count()).toBe(2);
  await button("Version before").click();
  expect(await said(0).textContent()).toBe(golden.prompt);
  expect(await said(3).textContent()).not.toBe("");

  await button("New").click();
  expect(await page.locator("#messages > li").count()).toBe(0);
  await button("Back to the last one").click();
  expect(await said(0).textContent()).toBe("a dog");
});

test("keeps nobody out: light, dark, 360 pixels", async () => {
  await page.evaluate(() => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
  for (const theme of ["light", "dark"]) {
    await page.getByLabel("Colours", { exact: true }).selectOption(theme);
    expect(await barriers(page)).toEqual([]);
  }
  await page.setViewportSize({ width: 360, height: 740 });
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(360);
  await page.setViewportSize({ width: 1280, height: 720 });
});

test("a dropped model with a chat template chats, and is deleted when asked twice", async () => {
  const chat = new GgufEdit(new Uint8Array(readFileSync(join(publicFolder, STORY))))
    .set("general.name", "tiny-chat")
    .set("tokenizer.chat_template", "{{ messages[-1].content }}");
  writeFileSync(join(edited, "chat.gguf"), chat.bytes());
  await page.evaluate(async () => {
    const dataTransfer = new DataTransfer();
    const response = await fetch("/edited/chat.gguf");
    dataTransfer.items.add(new File([await response.blob()], "chat.gguf"));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
  });
  await page.locator("#model-name", { hasText: "tiny-chat" }).waitFor();
  await becomesReady();
  expect(await page.locator("#text-mode").isVisible()).toBe(false);
  expect(await page.locator("#messages > li").count()).toBe(0);
  await set("Max tokens", String(golden.tokens.length));
  await page.getByLabel("Message", { exact: true }).fill(golden.prompt);
  await page.getByLabel("Message", { exact: true }).press("Enter");
  await said(1).waitFor();
  await ends();
  expect((await said(1).textContent())?.trim()).toBe(golden.text.trim());

  const models = page.locator("#installed-models");
  await button("Delete tiny-chat").click();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
  expect(await models.textContent()).toContain("tiny-chat");
  await button("Delete tiny-chat").click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await page.getByText("None loaded").waitFor();
  await models.getByText("tiny-chat", { exact: true }).waitFor({ state: "detached" });
  expect(await models.textContent()).toContain("tiny-stories-moe");
});

test("without a network the page, the model and the conversation are there", async () => {
  await page.waitForFunction(() => navigator.serviceWorker.controller?.state === "activated");
  expect(await page.locator("#new-version").isVisible()).toBe(false);
  server.close();
  modelRequests.length = 0;
  await page.goto(server.origin);
  await becomesReady();
  expect(modelRequests).toEqual([]);
  expect(await said(0).textContent()).toBe("a dog");
  await button("Continue").click();
  await said(2).waitFor();
  await ends();
  expect(await said(2).textContent()).not.toBe("");
  expect(complaints).toEqual([]);
});
