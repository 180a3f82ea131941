import type { TensorType } from "./formats.ts";

/** What matrices of floats become when a model is installed: what the file has, or blocks of 32 with a scale. */
export type InstallForm = "as-is" | "q8_0" | "q4_0";

/** From the most bytes to the fewest. */
export const INSTALL_FORMS: readonly InstallForm[] = ["as-is", "q8_0", "q4_0"];

const QUANTISED: Readonly<Record<InstallForm, TensorType | undefined>> = {
  "as-is": undefined,
  q8_0: "Q8_0",
  q4_0: "Q4_0",
};
const FLOATS: readonly TensorType[] = ["F32", "F16", "BF16"];
const BLOCK_WEIGHTS = 32;

/** The type in the page of a matrix with rows of `cols` weights. */
export function installedType(form: InstallForm, type: TensorType, cols: number): TensorType {
  const isFloat = FLOATS.includes(type) && cols % BLOCK_WEIGHTS === 0;
  return (isFloat ? QUANTISED[form] : undefined) ?? type;
}
