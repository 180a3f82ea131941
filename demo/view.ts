import {
  type GenerateOptions,
  type ModelInfo,
  type Progress,
  SluiceError,
  type Stats,
} from "../src/index.ts";
import { formatModel, formatProgress, formatStats } from "./format.ts";

type Constructor<T> = new (...args: never[]) => T;

/** The element called `id`; a page without it is not ours. */
export function element<T extends HTMLElement>(id: string, type: Constructor<T>): T {
  const found = document.getElementById(id);
  if (found instanceof type) return found;
  throw new Error(`the page has no ${type.name} called ${id}`);
}

const generate = element("generate", HTMLButtonElement);
const stop = element("stop", HTMLButtonElement);
const progress = element("progress", HTMLProgressElement);
const status = element("status", HTMLElement);
const install = element("install", HTMLElement);
const output = element("output", HTMLElement);
const stats = element("stats", HTMLElement);
const error = element("error", HTMLElement);
const promptShown = output.querySelector(".prompt") as HTMLElement;
const text = output.querySelector(".text") as HTMLElement;

export type Activity = "idle" | "loading" | "ready" | "generating";

export function showActivity(activity: Activity): void {
  generate.disabled = activity !== "ready";
  stop.disabled = activity !== "loading" && activity !== "generating";
  output.setAttribute("aria-busy", String(activity === "generating"));
  if (activity === "idle") status.textContent = "No model is loaded.";
  if (activity !== "loading") progress.value = activity === "idle" ? 0 : 1;
}

export function showLoading(name: string): void {
  element("model-name", HTMLElement).textContent = name;
  element("model-facts", HTMLElement).textContent = "";
  status.textContent = "Opening …";
  install.textContent = "";
  install.removeAttribute("aria-busy");
  progress.value = 0;
}

export function showProgress(state: Progress): void {
  if (state.phase === "install") {
    showInstall(state);
    return;
  }
  status.textContent = formatProgress(state);
  if (state.phase === "ready") progress.value = 1;
  else if (state.bytesTotal > 0) progress.value = state.bytesDone / state.bytesTotal;
  // Without a value the bar shows that something is happening, which is all there is to say.
  else progress.removeAttribute("value");
}

/** A line of its own: the model is ready, and what is said of it stays. */
function showInstall(state: Progress): void {
  const isBusy = state.bytesDone < state.bytesTotal;
  install.textContent = isBusy ? formatProgress(state) : "";
  install.setAttribute("aria-busy", String(isBusy));
}

export function showModel(info: ModelInfo): void {
  element("model-name", HTMLElement).textContent = info.name;
  element("model-facts", HTMLElement).textContent = formatModel(info);
  status.textContent = "Ready";
}

export function startText(prompt: string): void {
  promptShown.textContent = prompt;
  text.textContent = "";
  stats.replaceChildren();
}

export function appendText(piece: string): void {
  text.append(piece);
}

export function showStats(measured: Stats): void {
  const pairs = formatStats(measured).map(([term, value]) => {
    const pair = document.createElement("div");
    pair.append(document.createElement("dt"), document.createElement("dd"));
    pair.children[0]?.append(term);
    pair.children[1]?.append(value);
    return pair;
  });
  stats.replaceChildren(...pairs);
}

export function clearError(): void {
  error.hidden = true;
}

export function showError(problem: unknown): void {
  const [code, message, remedy] =
    problem instanceof SluiceError
      ? [problem.code, problem.message, problem.remedy]
      : [
          "unexpected",
          problem instanceof Error ? problem.message : String(problem),
          "This is a bug in Sluice.",
        ];
  element("error-code", HTMLElement).textContent = code;
  element("error-message", HTMLElement).textContent = message;
  element("error-remedy", HTMLElement).textContent = remedy;
  error.hidden = false;
}

/** The settings, or undefined after pointing at the field that is wrong. */
export function readSettings(): GenerateOptions | undefined {
  const form = element("prompt-form", HTMLFormElement);
  if (!form.checkValidity()) {
    for (const folded of form.querySelectorAll("details")) folded.open = true;
    form.reportValidity();
    return undefined;
  }
  const value = (id: string) => element(id, HTMLInputElement).valueAsNumber;
  const seed = value("seed");
  return {
    temperature: value("temperature"),
    topK: value("top-k"),
    topP: value("top-p"),
    maxTokens: value("max-tokens"),
    ...(Number.isNaN(seed) ? {} : { seed }),
  };
}
