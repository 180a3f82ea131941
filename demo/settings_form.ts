import { make } from "./dom.ts";
import { parseField, type Setting, type Values } from "./settings.ts";

type Control = HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement;

/** The fields of a table of settings, kept from visit to visit. */
export class SettingsForm<Name extends string> {
  readonly #settings: readonly Setting<Name>[];
  readonly #controls = new Map<Name, Control>();
  readonly #form: HTMLFormElement;
  readonly #key: string;

  /** @param form is filled with the fields; its id names what is kept */
  constructor(form: HTMLFormElement, settings: readonly Setting<Name>[]) {
    this.#settings = settings;
    this.#form = form;
    this.#key = `sluice:${form.id}`;
    form.noValidate = true;
    const kept = this.#kept();
    const fields = settings.map((setting) => {
      const { field, control } = makeField(`${form.id}-${setting.name}`, setting);
      const before = kept[setting.name];
      if (typeof before === "string") control.value = before;
      this.#controls.set(setting.name, control);
      return field;
    });
    form.prepend(...fields);
    form.addEventListener("input", () => this.#keep());
    form.addEventListener("reset", () => queueMicrotask(() => this.#keep()));
    form.addEventListener("submit", (event) => event.preventDefault());
  }

  /** The settings, or undefined after pointing at the field that is wrong. */
  read(): Values<Name> | undefined {
    if (!this.#form.checkValidity()) {
      for (let parent: Element | null = this.#form; parent; parent = parent.parentElement) {
        if (parent instanceof HTMLDetailsElement) parent.open = true;
      }
      this.#form.reportValidity();
      return undefined;
    }
    const values: Partial<Record<Name, number | string | readonly string[]>> = {};
    for (const { name, field } of this.#settings) {
      const value = parseField(field, this.#controls.get(name)?.value ?? "");
      if (value !== undefined) values[name] = value;
    }
    return values;
  }

  #kept(): Record<string, unknown> {
    try {
      const kept: unknown = JSON.parse(localStorage.getItem(this.#key) ?? "{}");
      return typeof kept === "object" && kept !== null ? { ...kept } : {};
    } catch {
      return {};
    }
  }

  #keep(): void {
    const changed = [...this.#controls].filter(([, control]) => control.value !== initialValue(control));
    try {
      localStorage.setItem(
        this.#key,
        JSON.stringify(Object.fromEntries(changed.map(([k, c]) => [k, c.value]))),
      );
    } catch {
      // Without storage the next visit begins with the defaults.
    }
  }
}

function initialValue(control: Control): string {
  return control instanceof HTMLSelectElement ? (control.options[0]?.value ?? "") : control.defaultValue;
}

/** A control with its label and what explains it. */
export function makeField(id: string, setting: Setting): { field: HTMLElement; control: Control } {
  const control = makeControl(setting);
  control.id = id;
  const hint = make("span", "hint", setting.hint);
  hint.id = `${id}-hint`;
  control.setAttribute("aria-describedby", hint.id);
  const label = make("label", "", setting.label);
  label.htmlFor = id;
  return { control, field: make("div", `field ${setting.field.kind}`, label, control, hint) };
}

function makeControl({ field }: Setting): Control {
  if (field.kind === "lines" || field.kind === "text") {
    const area = make("textarea");
    area.rows = 2;
    area.spellcheck = false;
    return area;
  }
  if (field.kind === "choice") {
    const options = Object.entries(field.options).map(([value, label]) => new Option(label, value));
    return make("select", "", ...options);
  }
  const input = make("input");
  input.type = "number";
  input.inputMode = field.step === undefined ? "decimal" : "numeric";
  input.min = String(field.min);
  if (field.max !== undefined) input.max = String(field.max);
  input.step = field.step === undefined ? "any" : String(field.step);
  input.required = field.value !== undefined;
  // As an attribute: what a reset of the form goes back to.
  if (field.value !== undefined) input.setAttribute("value", String(field.value));
  if (field.placeholder !== undefined) input.placeholder = field.placeholder;
  return input;
}
