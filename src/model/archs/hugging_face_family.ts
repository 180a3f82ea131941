import type { Config } from "./hugging_face_config.ts";
import type { Keys } from "./hugging_face_keys.ts";
import type { Names } from "./hugging_face_names.ts";

/** What is particular to one `model_type`. */
export interface Family {
  /** As GGUF calls it. */
  readonly architecture: string;
  /** Settings under the names that most have, of those that it calls otherwise or leaves out. */
  readonly settings?: (config: Config) => Readonly<Record<string, unknown>>;
  /** Settings that the mapping takes for granted, and their values; absent is one of them. */
  readonly expects?: Readonly<Record<string, readonly unknown[]>>;
  /** Values of `hidden_act` that the mapping knows; SiLU alone unless told; any where the authors' own code does not read it. */
  readonly activations?: readonly string[] | "any";
  /** Keys that follow from others. @throws SluiceError for settings that contradict the mapping */
  readonly keys?: (config: Config) => Keys;
  /** What a tensor is called before names are looked up, where its number is at another place. */
  readonly rename?: (name: string) => string;
  /** Tensors that are called otherwise than in most. */
  readonly names?: Names | ((config: Config) => Names);
  /** Tensors that nothing is computed with. */
  readonly unused?: RegExp;
  /** Rope scaling `ntk` is a longer base at whatever length; elsewhere nobody says what it is. */
  readonly hasNtkRope?: boolean;
  /** Layers above those that the model says it has guess further tokens, and are left out. */
  readonly hasGuesses?: boolean;
}

/** llama.cpp's number for routers whose logits go through a sigmoid. */
export const SIGMOID: Keys = { expert_gating_func: 2 };
