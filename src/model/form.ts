import { INSTALL_FORMS, type InstallForm } from "../quant/install.ts";
import type { ModelFile } from "../source/model_file.ts";
import { planModel } from "./archs/index.ts";
import { type ModelPages, planPages } from "./pages.ts";
import type { ModelPlan } from "./plan.ts";

/** A model in the form it is installed in. */
export interface FormedModel {
  readonly form: InstallForm;
  readonly plan: ModelPlan;
  readonly pages: ModelPages;
}

/**
 * The model in the form that was asked for. Where none was, safetensors files keep what they have if all of it fits
 * `most` bytes, and are quantised as little as makes it fit; GGUF files are made in the form that is wanted.
 * @param kept bytes that come on top of the pages
 */
export function chooseForm(
  file: ModelFile,
  asked: InstallForm | undefined,
  most = Number.POSITIVE_INFINITY,
  kept = 0,
): FormedModel {
  const formed = (form: InstallForm): FormedModel => {
    const plan = planModel(file, form);
    return { form, plan, pages: planPages(plan) };
  };
  if (asked !== undefined || file.format === "gguf") return formed(asked ?? "as-is");
  let smallest = formed("as-is");
  for (const form of INSTALL_FORMS) {
    if (kept + bytesOf(smallest.pages) <= most) break;
    smallest = formed(form);
  }
  return smallest;
}

function bytesOf({ pages }: ModelPages): number {
  return pages.reduce((sum, { bytes }) => sum + bytes, 0);
}
