import { describe, expect, test } from "vitest";
import { collect, failure, loadInline, smallCase, smallModel } from "../support/engine.ts";
import { readBytes } from "../support/golden.ts";
import { GgufEdit, INFINITY_BITS, NAN_BITS } from "./gguf_edit.ts";

const bytes = await readBytes(smallModel());
const { tokens } = await smallCase();

describe("weights that are no numbers: bad-model-file, no token", () => {
  test.each([
    ["NaN in the final norm", "output_norm.weight", NAN_BITS],
    ["NaN in the first attention norm", "blk.0.attn_norm.weight", NAN_BITS],
    ["infinity in the first feed-forward norm", "blk.0.ffn_norm.weight", INFINITY_BITS],
    ["NaN in a router", "blk.1.ffn_gate_inp.weight", NAN_BITS],
    ["NaN in every expert", "blk.1.ffn_down_exps.weight", 0x7e007e00],
    ["NaN in the output", "output.weight", 0x7e007e00],
  ])("%s", async (_, tensor, bits) => {
    const model = await loadInline(new GgufEdit(bytes).fill(tensor, bits).file());
    const got: number[] = [];
    await failure("bad-model-file", async () => {
      for await (const token of model.generateTokens(tokens, { maxTokens: 4 })) got.push(token);
    });
    await failure("bad-model-file", async () => {
      for await (const token of model.generateTokens(tokens, { maxTokens: 4, temperature: 1, topP: 0.9 })) {
        got.push(token);
      }
    });
    expect(got).toEqual([]);
    await model.dispose();
  });
});

describe("files the engine refuses, before it asks for memory", () => {
  test("another architecture", async () => {
    const file = new GgufEdit(bytes).set("general.architecture", "mamba").file();
    const { message } = await failure("unsupported-model", () => loadInline(file));
    expect(message).toContain("mamba");
  });

  test("no model at all", async () => {
    await failure("bad-model-file", () => loadInline(new File([new Uint8Array(100_000)], "zeros.gguf")));
    await failure("bad-model-file", () => loadInline(new File([], "empty.gguf")));
  });

  test("half a model", async () => {
    await failure("bad-model-file", () => loadInline(new File([bytes.slice(0, 1_000_000)], "half.gguf")));
  });

  test("numbers that contradict each other", async () => {
    const file = new GgufEdit(bytes).set("qwen3moe.expert_used_count", 9).file();
    const { details } = await failure("bad-model-file", () => loadInline(file));
    expect(details).toEqual({ value: 9, least: 1, most: 8 });
  });

  test("weights of a type without a kernel, and of one without a known size", async () => {
    const ofType = (typeId: number) =>
      new GgufEdit(bytes).replace("output.weight", [128, 128], typeId, new Uint8Array(128 * 128)).file();
    const { message } = await failure("unsupported-model", () => loadInline(ofType(24)));
    expect(message).toContain("weights of type I8 ");
    const unknown = await failure("unsupported-model", () => loadInline(ofType(99)));
    expect(unknown.message).toContain("unknown type 99");
  });
});

test("the models above fail for what was changed: unchanged, the file loads", async () => {
  const model = await loadInline(new GgufEdit(bytes).file());
  const { greedy } = await smallCase();
  expect(await collect(model.generateTokens(tokens, { maxTokens: 5 }))).toEqual(greedy.slice(0, 5));
  await model.dispose();
});
