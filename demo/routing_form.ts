import type { LayerRouting, Model, RoutingNumbers, RoutingRange } from "../src/index.ts";
import { announce, element } from "./dom.ts";
import { ErrorBox } from "./error_box.ts";
import type { Setting } from "./settings.ts";
import { makeField } from "./settings_form.ts";

type Name = keyof RoutingNumbers;

const TEXTS: Readonly<Record<Name, readonly [label: string, hint: string]>> = {
  k: ["Experts per token", "At most; fewer are faster"],
  p: ["Top-p of routing", "As few experts as have this share of the scores; 1 for no limit"],
  threshold: ["Least score", "Only experts that score this; 0 for no limit"],
  temperature: ["Temperature of routing", "Above 1, experts weigh more alike"],
};
/** How near a number comes to a limit that it may not reach. */
const GAP = 0.01;

/** How the loaded model chooses experts, for all layers alike. What is changed holds from the next token on. */
export class RoutingForm {
  readonly #details = element("routing-details", HTMLDetailsElement);
  readonly #form = element("routing", HTMLFormElement);
  readonly #error = new ErrorBox(element("routing-error", HTMLElement));
  readonly #controls = new Map<Name, HTMLInputElement>();
  #model: Model | undefined;

  constructor() {
    this.#form.noValidate = true;
    this.#form.addEventListener("submit", (event) => event.preventDefault());
    this.#form.addEventListener("change", (event) => {
      for (const [name, control] of this.#controls)
        if (control === event.target) void this.#set(name, control);
    });
    this.#form.addEventListener("reset", (event) => {
      event.preventDefault();
      void this.#apply((model) => model.routing.reset());
    });
    this.clear();
  }

  /** Before another model. */
  clear(): void {
    this.#model = undefined;
    this.#details.hidden = true;
    this.#error.clear();
    for (const control of this.#controls.values()) control.parentElement?.remove();
    this.#controls.clear();
  }

  /** The numbers of `model` that may be changed, in their ranges; nothing where there are none. */
  async show(model: Model): Promise<void> {
    this.clear();
    this.#model = model;
    const layers = await model.routing.get();
    if (model !== this.#model) return;
    const fields = (Object.keys(TEXTS) as Name[]).flatMap((name) => {
      const setting = settingOf(name, layers);
      if (!setting) return [];
      const { field, control } = makeField(`routing-${name}`, setting);
      this.#controls.set(name, control as HTMLInputElement);
      return [field];
    });
    this.#form.prepend(...fields);
    this.#details.hidden = fields.length === 0;
    this.#fill(layers);
  }

  async #set(name: Name, control: HTMLInputElement): Promise<void> {
    if (!control.reportValidity()) return;
    const value = Number(control.value);
    await this.#apply((model) => model.routing.set({ [name]: value }));
  }

  async #apply(change: (model: Model) => Promise<readonly LayerRouting[]>): Promise<void> {
    const model = this.#model;
    if (!model) return;
    this.#error.clear();
    try {
      const layers = await change(model);
      if (model !== this.#model) return;
      this.#fill(layers);
      announce("From the next token on");
    } catch (error) {
      if (model === this.#model) this.#error.show(error);
    }
  }

  #fill(layers: readonly LayerRouting[]): void {
    for (const [name, control] of this.#controls) {
      const [value, ...others] = new Set(layers.map(({ numbers }) => numbers[name]));
      control.value = others.length > 0 ? "" : String(value);
      control.placeholder = others.length > 0 ? "differs by layer" : "";
    }
  }
}

/** What every layer allows; undefined where one does not, or where there is nothing to choose. */
function settingOf(name: Name, layers: readonly LayerRouting[]): Setting | undefined {
  const ranges = layers.flatMap(({ ranges }) => ranges[name] ?? []);
  const lowest = ({ least, above = 0 }: RoutingRange) => least ?? above + GAP;
  const highest = ({ most, below = 0 }: RoutingRange) => most ?? below - GAP;
  const [min, max] = [Math.max(...ranges.map(lowest)), Math.min(...ranges.map(highest))];
  if (ranges.length === 0 || ranges.length < layers.length || min >= max) return undefined;
  const [label, hint] = TEXTS[name];
  return { name, label, hint, field: { kind: "number", min, max, ...(name === "k" && { step: 1 }) } };
}
