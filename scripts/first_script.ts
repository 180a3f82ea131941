import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Plugin } from "vite";

/** The worker script that every page fetches. The other, `workers/all.worker.ts`, has everything. */
const FIRST_SCRIPT = /sluice\.worker\.ts/;

/** What models in GGUF of the families there are files of do without: modules, each with what it alone imports. */
export const LEFT_OUT =
  /\/src\/(model\/archs\/(hugging_face|adamoe|apollo_moe|bam|dynamic_moe|megatron_moe|moduleformer|moe_plus_plus|monet|rmoe|route_source|router_rule|time_moe)|model\/(forecast|blocks\/(expert_attention_site|momentum|product_key))|kernels\/(cosine_gate|embed_series|momentum|recurrent_cell|request_logits|residual_mix|small_matmul|soft_mixture|task_input|tree_gate)|quant\/quantise|source\/safetensors)\.ts$/;
const ERRORS = fileURLToPath(new URL("../src/errors.ts", import.meta.url));
const EXPORTED = /^export (?:async )?(?:function|const) (\w+)/gm;

/**
 * Leaves out of the first script what few models need: each function in such a module throws the error that `loadModel`
 * takes as a reason to fetch the script with all. A development server leaves out nothing.
 */
export function leaveOut(): Plugin {
  let isFirst = false;
  return {
    name: "sluice:first-script",
    apply: "build",
    enforce: "pre",
    buildStart({ input }) {
      isFirst = FIRST_SCRIPT.test(JSON.stringify(input));
    },
    load: {
      filter: { id: LEFT_OUT },
      handler(id) {
        if (!isFirst) return undefined;
        const names = [...readFileSync(id, "utf8").matchAll(EXPORTED)].map(([, name]) => name);
        return [
          `import { leftOut } from ${JSON.stringify(ERRORS)};`,
          ...names.map((name) => `export const ${name} = leftOut;`),
        ].join("\n");
      },
    },
  };
}
