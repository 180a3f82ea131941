/** How the terminal's programs end: 0, 1 for what failed, 2 for wrong usage. */
import process from "node:process";
import { SluiceError } from "../../src/errors.ts";
import { UsageError } from "./options.ts";

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

/** Says on stderr what went wrong. @returns the exit code that stands for it */
export function explain(error: unknown, usage: string): number {
  if (error instanceof UsageError) {
    console.error(`${error.message}\n\n${usage}`);
    return EXIT_USAGE;
  }
  if (error instanceof SluiceError) console.error(`${error.code}: ${error.message}\n${error.remedy}`);
  else console.error(error);
  return EXIT_FAILED;
}

/** Ends the process even where a native module keeps it alive, after the last byte is written. */
export async function exit(code: number): Promise<void> {
  await new Promise<void>((resolve) => process.stdout.write("", () => resolve()));
  process.exit(code);
}
