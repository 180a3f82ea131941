import { SluiceError } from "../../errors.ts";
import type { ModelFile } from "../../source/model_file.ts";

const NAME = "config.json";

/** Typed access to a model's `config.json`; null is absent, as it is to who writes such files. */
export class Config {
  readonly file: string;
  readonly #values: Readonly<Record<string, unknown>>;

  constructor(file: string, values: Readonly<Record<string, unknown>>) {
    this.file = file;
    this.#values = values;
  }

  /** @throws SluiceError `bad-model-file` for a file whose configuration is no JSON object */
  static of({ name, metadata }: ModelFile): Config {
    const text = String(metadata[NAME] ?? "");
    let values: unknown;
    try {
      values = JSON.parse(text);
    } catch (cause) {
      throw damaged(name, `its ${text.length} characters are not JSON`, { characters: text.length }, cause);
    }
    if (isObject(values)) return new Config(name, values);
    throw damaged(name, "it is not a JSON object", {});
  }

  /** The same with these settings in place of its own. */
  with(settings: Readonly<Record<string, unknown>>): Config {
    return new Config(this.file, { ...this.#values, ...settings });
  }

  /** The first of these keys that is there. */
  value(...keys: readonly string[]): unknown {
    const key = keys.find((key) => this.#get(key) !== undefined);
    return key === undefined ? undefined : this.#get(key);
  }

  number(...keys: readonly string[]): number | undefined {
    const value = this.value(...keys);
    if (value === undefined || (typeof value === "number" && Number.isFinite(value))) return value;
    throw this.bad(`${keys.join(" or ")} is ${said(value)}, not a number`, { key: keys.join(" or ") });
  }

  /** @throws SluiceError `bad-model-file` where it is not there */
  required(...keys: readonly string[]): number {
    const value = this.number(...keys);
    if (value !== undefined) return value;
    throw this.bad(`${keys.join(" or ")} is missing`, { key: keys.join(" or ") });
  }

  flag(key: string): boolean | undefined {
    const value = this.value(key);
    if (value === undefined || typeof value === "boolean") return value;
    throw this.bad(`${key} is ${said(value)}, not true or false`, { key });
  }

  text(...keys: readonly string[]): string | undefined {
    const value = this.value(...keys);
    if (value === undefined || typeof value === "string") return value;
    throw this.bad(`${keys.join(" or ")} is ${said(value)}, not a text`, { key: keys.join(" or ") });
  }

  list(key: string): readonly unknown[] | undefined {
    const value = this.value(key);
    if (value === undefined || Array.isArray(value)) return value;
    throw this.bad(`${key} is ${said(value)}, not a list`, { key });
  }

  /** An object inside. */
  inner(...keys: readonly string[]): Config | undefined {
    const value = this.value(...keys);
    if (value === undefined) return undefined;
    if (isObject(value)) return new Config(this.file, value);
    throw this.bad(`${keys.join(" or ")} is ${said(value)}, not an object`, { key: keys.join(" or ") });
  }

  /** Width of a head. */
  get headSize(): number {
    return this.number("head_dim") ?? this.required("hidden_size") / this.required("num_attention_heads");
  }

  /** @throws SluiceError `unsupported-model` unless `key` has, or where it is absent means, one of these values */
  expect(key: string, allowed: readonly unknown[]): void {
    const value = this.value(key);
    if (value === undefined || allowed.some((one) => said(one) === said(value))) return;
    throw this.unsupported(`${key} ${said(value)}`, `${key} ${allowed.map(said).join(" or ")}`);
  }

  bad(what: string, details: Readonly<Record<string, string | number>>): SluiceError {
    return damaged(this.file, what, details);
  }

  unsupported(what: string, instead: string): SluiceError {
    return new SluiceError("unsupported-model", `${this.file}: ${NAME} asks for ${what}`, {
      remedy: `Use a model with ${instead}, or a GGUF file of this one.`,
      details: { what },
    });
  }

  #get(key: string): unknown {
    const value = Object.hasOwn(this.#values, key) ? this.#values[key] : undefined;
    return value === null ? undefined : value;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function said(value: unknown): string {
  return JSON.stringify(value) ?? "nothing";
}

function damaged(
  file: string,
  what: string,
  details: Readonly<Record<string, string | number>>,
  cause?: unknown,
): SluiceError {
  const options = { remedy: "Download the model's files again.", details, cause };
  return new SluiceError("bad-model-file", `${NAME} of ${file}: ${what}`, options);
}
