import { readFileSync } from "node:fs";
import type { Plugin } from "vite";

/**
 * The same WGSL without comments, indentation, empty lines and most spaces. It has no strings, so `//` always starts a
 * comment; spaces stay where two tokens could become another: `- -`, `/ *`, `> =`, `& &`.
 */
export function stripWgsl(code: string): string {
  return code
    .replace(/\/\/.*/g, "")
    .replace(/^\s+|[ \t]+$/gm, "")
    .replace(/ ?([;:,+%|!(){}[\]]) ?/g, "$1")
    .replace(/([\w)\]]) = /g, "$1=")
    .trimEnd();
}

/** Shaders in a build carry code only; their comments are for readers. A development server serves them as they are. */
export function stripShaders(): Plugin {
  return {
    name: "sluice:strip-shaders",
    apply: "build",
    enforce: "pre",
    load: {
      filter: { id: /\.wgsl\?raw$/ },
      handler: (id) => {
        const path = id.slice(0, -"?raw".length);
        return `export default ${JSON.stringify(stripWgsl(readFileSync(path, "utf8")))}`;
      },
    },
  };
}
