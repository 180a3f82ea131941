/** The demo: a model, a conversation with it, and what it does meanwhile. */
import { loadModel, type Model, type Progress } from "../src/index.ts";
import { modeOf } from "./answer.ts";
import { ChatPanel } from "./chat_panel.ts";
import { element, make, showPairs } from "./dom.ts";
import { ExpertsPanel } from "./experts_panel.ts";
import { describeStats } from "./format.ts";
import { InstalledPanel } from "./installed.ts";
import { ModelPanel } from "./model_panel.ts";
import { registerOffline } from "./offline/register.ts";
import { RoutingForm } from "./routing_form.ts";
import { LOADING, loadOptions } from "./settings.ts";
import { SettingsForm } from "./settings_form.ts";
import { type Chosen, chosenAddress, watchSources } from "./sources.ts";
import { watchTheme } from "./theme.ts";
import { webGpuFacts, webGpuHelp } from "./webgpu_help.ts";

const STORY_MODEL = "tiny-stories-moe-Q4_K_M.gguf";
const STORY_BEGINNING = "once upon a time, there was a little";
/** Between looks at a model that writes. */
const LOOK_MS = 300;

let model: Model | undefined;
/** Of the latest load; an older one has nothing more to say. */
let loading = new AbortController();
let isWriting = false;

const panel = new ModelPanel(() => loading.abort());
const experts = new ExpertsPanel();
const routing = new RoutingForm();
const loadSettings = new SettingsForm(element("loading", HTMLFormElement), LOADING);
const installed = new InstalledPanel({
  loaded: () => model?.info.id,
  open: (chosen) => void open(chosen),
  async close(id) {
    if (model?.info.id !== id) return;
    const closing = model;
    model = undefined;
    chat.clearModel();
    experts.clear();
    routing.clear();
    panel.showNone();
    await closing.dispose();
  },
});
const chat = new ChatPanel((writes) => {
  isWriting = writes;
  void (writes ? look() : showState());
});

async function open({ source, name }: Chosen): Promise<void> {
  const settings = loadSettings.read();
  if (!settings) return;
  loading.abort();
  const attempt = new AbortController();
  loading = attempt;
  const { signal } = attempt;
  const isLatest = () => attempt === loading;
  const onProgress = (progress: Progress) => {
    if (!isLatest()) return;
    panel.showProgress(progress);
    if (progress.phase === "install" && progress.bytesDone === progress.bytesTotal) void installed.update();
  };
  panel.showLoading(name);
  chat.clearModel();
  experts.clear();
  routing.clear();
  try {
    const last = model;
    model = undefined;
    await last?.dispose();
    if (!isLatest()) return;
    const opened = await loadModel(source, { ...loadOptions(settings), onProgress, signal });
    await take(opened, isLatest, name === STORY_MODEL ? STORY_BEGINNING : "");
  } catch (error) {
    if (!isLatest()) return;
    panel.showNone();
    panel.error.show(error);
  }
}

/** Makes `opened` the model of the page, unless another was asked for meanwhile. */
async function take(opened: Model, isLatest: () => boolean, suggestion: string): Promise<void> {
  try {
    const mode = await modeOf(opened);
    if (!isLatest()) return await opened.dispose();
    await chat.setModel(opened, mode, suggestion);
    if (!isLatest()) return await opened.dispose();
    model = opened;
    await routing.show(opened);
    if (!isLatest()) return;
    const ability = mode === "chat" ? "It answers messages." : "It continues texts.";
    panel.showModel(opened.info, ability);
    void installed.update();
    await showState();
  } catch (error) {
    await opened.dispose();
    throw error;
  }
}

/** Again and again while an answer is written. */
async function look(): Promise<void> {
  while (isWriting) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    if (isWriting) await showState();
  }
}

async function showState(): Promise<void> {
  const shown = model;
  if (!shown) return;
  try {
    await experts.update(shown);
    const stats = await shown.stats();
    if (shown === model) showPairs(element("stats", HTMLElement), describeStats(stats));
  } catch {
    // What ended the model is said where it ended.
  }
}

/** What to do where there is no WebGPU; a model is only asked for where there is. */
async function begin(): Promise<void> {
  const help = webGpuHelp(await webGpuFacts());
  if (help) {
    element("no-webgpu", HTMLElement).hidden = false;
    element("no-webgpu-title", HTMLElement).textContent = help.title;
    element("no-webgpu-steps", HTMLElement).append(...help.steps.map((step) => make("li", "", step)));
    panel.showNone();
    return;
  }
  void open(chosenAddress(new URLSearchParams(location.search).get("model") ?? STORY_MODEL));
}

watchTheme(() => experts.draw());
watchSources((chosen) => void open(chosen), STORY_MODEL);
document.addEventListener("keydown", (event) => {
  // In a dialog it closes the dialog.
  const isInDialog = event.target instanceof Element && event.target.closest("dialog") !== null;
  if (event.key === "Escape" && !isInDialog) chat.stop();
});
registerOffline();
void installed.update();
void begin();
