/** The demo: opens a model, continues a prompt, says what it measured. */
import { loadModel, type Model, type Progress, SluiceError } from "../src/index.ts";
import * as view from "./view.ts";
import { element } from "./view.ts";

const STORY_MODEL = "tiny-stories-moe-Q4_K_M.gguf";

let model: Model | undefined;
/** Ends what is going on: a load or a generation. */
let current = new AbortController();
/** How many were begun; only the latest reports, also while it installs itself later. */
let loads = 0;

const prompt = element("prompt", HTMLTextAreaElement);

async function open(source: URL | readonly File[], name: string): Promise<void> {
  const attempt = begin();
  const load = ++loads;
  const onProgress = (progress: Progress) => {
    if (load === loads) view.showProgress(progress);
  };
  view.showActivity("loading");
  view.showLoading(name);
  try {
    await model?.dispose();
    model = undefined;
    const opened = await loadModel(source, { onProgress, signal: attempt.signal });
    if (attempt !== current) return await opened.dispose();
    model = opened;
    view.showModel(opened.info);
    view.showActivity("ready");
  } catch (error) {
    if (attempt !== current) return;
    view.showActivity("idle");
    report(error);
  }
}

async function generate(): Promise<void> {
  const settings = view.readSettings();
  if (model === undefined || settings === undefined) return;
  const attempt = begin();
  const { signal } = attempt;
  view.showActivity("generating");
  view.startText(prompt.value);
  try {
    for await (const piece of model.generate(prompt.value, { ...settings, signal })) {
      if (attempt !== current) return;
      view.appendText(piece);
    }
  } catch (error) {
    if (attempt === current) report(error);
  }
  if (attempt !== current) return;
  view.showActivity("ready");
  view.showStats(await model.stats());
}

/** Ends what was going on in favour of something new. */
function begin(): AbortController {
  current.abort();
  current = new AbortController();
  view.clearError();
  return current;
}

/** Being stopped is no failure. */
function report(error: unknown): void {
  if (error instanceof SluiceError && error.code === "aborted") return;
  view.showError(error);
}

/** One model: a file, the parts of a split one, or a configuration with its safetensors files. */
function openFiles(list: FileList | null | undefined): void {
  const files = Array.from(list ?? []);
  const [first] = files;
  if (first) void open(files, files.length === 1 ? first.name : `${files.length} files`);
}

function openUrl(address: string): void {
  const url = new URL(address, document.baseURI);
  void open(url, url.pathname.slice(url.pathname.lastIndexOf("/") + 1));
}

element("prompt-form", HTMLFormElement).noValidate = true;
element("prompt-form", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  void generate();
});
element("stop", HTMLButtonElement).addEventListener("click", () => current.abort());
element("url-form", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  openUrl(element("url", HTMLInputElement).value);
});
const file = element("file", HTMLInputElement);
file.addEventListener("change", () => {
  openFiles(file.files);
  // So that choosing the same file again is a change.
  file.value = "";
});
element("open-default", HTMLButtonElement).addEventListener("click", () => openUrl(STORY_MODEL));

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") current.abort();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    element("prompt-form", HTMLFormElement).requestSubmit(element("generate", HTMLButtonElement));
  }
});

const setDragging = (isDragging: boolean) => document.body.classList.toggle("dragging", isDragging);
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  setDragging(true);
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) setDragging(false);
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  setDragging(false);
  openFiles(event.dataTransfer?.files);
});

openUrl(new URLSearchParams(location.search).get("model") ?? STORY_MODEL);
