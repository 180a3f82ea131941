import { SluiceError } from "../../errors.ts";
import { type InstallForm, installedType } from "../../quant/install.ts";
import type { ModelFile, TensorInfo } from "../../source/model_file.ts";
import type { ModelPlan } from "../plan.ts";
import { afmoe } from "./afmoe.ts";
import { apolloMoe } from "./apollo_moe.ts";
import { bailingmoe } from "./bailingmoe.ts";
import { bailingmoe2 } from "./bailingmoe2.ts";
import { bam } from "./bam.ts";
import { cohere2moe } from "./cohere2moe.ts";
import { dbrx } from "./dbrx.ts";
import { deepseek } from "./deepseek.ts";
import { deepseek2 } from "./deepseek2.ts";
import { dots1 } from "./dots1.ts";
import { dynamicMoe } from "./dynamic_moe.ts";
import { ernie4_5moe } from "./ernie4_5moe.ts";
import { exaoneMoe } from "./exaone_moe.ts";
import { factorLlm } from "./factor_llm.ts";
import { glm4moe } from "./glm4moe.ts";
import { gptOss } from "./gpt_oss.ts";
import { granitemoe } from "./granitemoe.ts";
import { grok } from "./grok.ts";
import { fromHuggingFace } from "./hugging_face.ts";
import { hunyuanMoe } from "./hunyuan_moe.ts";
import { lfm2moe } from "./lfm2moe.ts";
import { llama } from "./llama.ts";
import { llama4 } from "./llama4.ts";
import { megatronMoe } from "./megatron_moe.ts";
import { mellum } from "./mellum.ts";
import { minimaxM2 } from "./minimax_m2.ts";
import { mistral3 } from "./mistral3.ts";
import { moduleformer } from "./moduleformer.ts";
import { moePlusPlus } from "./moe_plus_plus.ts";
import { monet } from "./monet.ts";
import { olmoe } from "./olmoe.ts";
import { phimoe } from "./phimoe.ts";
import { qwen2moe } from "./qwen2moe.ts";
import { qwen3 } from "./qwen3.ts";
import { qwen3moe, qwen3vlmoe } from "./qwen3moe.ts";
import { qwen3next, qwen35moe } from "./qwen3next.ts";
import { readMe } from "./read_me.ts";
import { FileReader } from "./reader.ts";
import { rmoe } from "./rmoe.ts";
import { smallthinker } from "./smallthinker.ts";
import { timeMoe } from "./time_moe.ts";

/**
 * Architecture mappings by the name a GGUF file gives in `general.architecture`, or that was made up for a family which
 * has no GGUF form.
 */
const archs: Readonly<Record<string, (reader: FileReader) => ModelPlan>> = {
  afmoe,
  "apollo-moe": apolloMoe,
  bailingmoe,
  bailingmoe2,
  bam,
  cohere2moe,
  dbrx,
  deepseek,
  deepseek2,
  dots1,
  "dynamic-moe": dynamicMoe,
  "factor-llm": factorLlm,
  "ernie4_5-moe": ernie4_5moe,
  "exaone-moe": exaoneMoe,
  glm4moe,
  "gpt-oss": gptOss,
  granite: granitemoe,
  granitemoe,
  grok,
  "hunyuan-moe": hunyuanMoe,
  lfm2moe,
  llama,
  llama4,
  "megatron-moe": megatronMoe,
  mellum,
  "minimax-m2": minimaxM2,
  mistral3,
  moduleformer,
  monet,
  "moe-plus-plus": moePlusPlus,
  olmoe,
  phimoe,
  qwen2moe,
  qwen3,
  qwen35moe,
  qwen3moe,
  qwen3next,
  qwen3vlmoe,
  "read-me": readMe,
  rmoe,
  smallthinker,
  "time-moe": timeMoe,
};

/** Matrices that are quantised on the way to disk, where that is asked for: not routers, norms and other small ones. */
const QUANTISED =
  /^(token_embd|output|blk\.\d+\.(attn_(q|k|v|qkv|output|q_exps|output_exps)|ffn_(gate|up|down|gate_up)(_exps|_shexp|_\d+)?))\.weight$/;

/**
 * The plan of a model file.
 * @param form what becomes of large matrices of floats
 * @throws SluiceError `unsupported-model` for an unknown architecture; `bad-model-file` for missing tensors,
 * and for metadata that contradicts itself or the tensors, with both numbers
 */
export function planModel(file: ModelFile, form: InstallForm = "as-is"): ModelPlan {
  const gguf = file.format === "gguf" ? file : fromHuggingFace(file);
  const reader = new FileReader({ ...gguf, tensors: gguf.tensors.map((tensor) => installed(tensor, form)) });
  const mapping = Object.hasOwn(archs, reader.architecture) ? archs[reader.architecture] : undefined;
  if (!mapping) {
    throw new SluiceError("unsupported-model", `no mapping for the architecture ${reader.architecture}`, {
      remedy: `Use a model of one of these architectures: ${Object.keys(archs).join(", ")}.`,
      details: { architecture: reader.architecture },
    });
  }
  const plan = mapping(reader);
  if (gguf !== file) requireAllRead(reader);
  return plan;
}

function installed(tensor: TensorInfo, form: InstallForm): TensorInfo {
  if (form === "as-is" || !QUANTISED.test(tensor.name)) return tensor;
  const stored = installedType(form, tensor.type, tensor.shape.at(-1) ?? 0);
  return stored === tensor.type ? tensor : { ...tensor, stored };
}

/** What a mapping does not ask for, its family does not have in GGUF: the model is another than the file's. */
function requireAllRead({ file, unread }: FileReader): void {
  const [name] = unread;
  if (name === undefined) return;
  throw new SluiceError("unsupported-model", `${file.name} has tensors that are not known: ${name}`, {
    remedy: "Use a GGUF file of this model.",
    details: { tensor: name, tensors: unread.size },
  });
}
