import { expect, test } from "vitest";
import { planModel } from "../../src/model/archs/index.ts";
import { type ModelPages, PIECE_BYTES, planPages } from "../../src/model/pages.ts";
import { fileBytes, type TensorType } from "../../src/quant/formats.ts";
import type { PagePart, PagePlan } from "../../src/quant/page.ts";
import type { ModelFile, TensorInfo } from "../../src/source/model_file.ts";
import { smallModel } from "../support/engine.ts";
import { tinyStoriesModel } from "../support/golden.ts";
import { headerOf } from "./plan_file.ts";

const ALIGNMENT_BYTES = 256;

/** A Qwen3-MoE of full width and vocabulary and one layer, as a header without data. */
function wideFile(): ModelFile {
  const tensors: TensorInfo[] = [];
  let offset = 4096;
  const add = (name: string, type: TensorType, ...shape: number[]) => {
    const bytes = fileBytes(
      type,
      shape.reduce((product, length) => product * length, 1),
    );
    tensors.push({ name, type, shape, offset, bytes });
    offset += bytes;
  };
  const [vocabulary, width, heads, kvHeads, head, experts, hidden] = [151_936, 2048, 32, 4, 128, 8, 768];
  add("token_embd.weight", "Q4_K", vocabulary, width);
  add("output.weight", "Q8_0", vocabulary, width);
  add("output.bias", "F16", vocabulary);
  add("output.scale", "F32", 1);
  add("output_norm.weight", "F32", width);
  add("blk.0.attn_norm.weight", "F32", width);
  add("blk.0.attn_q.weight", "F32", heads * head, width);
  add("blk.0.attn_q.bias", "F32", heads * head);
  add("blk.0.attn_k.weight", "Q6_K", kvHeads * head, width);
  add("blk.0.attn_v.weight", "Q6_K", kvHeads * head, width);
  add("blk.0.attn_output.weight", "Q4_0", width, heads * head);
  add("blk.0.attn_q_norm.weight", "F32", head);
  add("blk.0.attn_k_norm.weight", "F32", head);
  add("blk.0.ffn_norm.weight", "F32", width);
  add("blk.0.ffn_gate_inp.weight", "F32", experts, width);
  add("blk.0.ffn_gate_exps.weight", "Q4_K", experts, hidden, width);
  add("blk.0.ffn_up_exps.weight", "Q4_K", experts, hidden, width);
  add("blk.0.ffn_down_exps.weight", "Q6_K", experts, width, hidden);
  add("blk.0.ffn_down_exps.scale", "F32", experts);
  const numbers = {
    ...{ embedding_length: width, block_count: 1, context_length: 40_960 },
    ...{ "attention.head_count": heads, "attention.head_count_kv": kvHeads, "attention.key_length": head },
    ...{ expert_count: experts, expert_used_count: 2, expert_feed_forward_length: hidden },
    "attention.layer_norm_rms_epsilon": 1e-6,
  };
  const keys = Object.entries(numbers).map(([key, value]) => [`qwen3moe.${key}`, value]);
  const metadata = { "general.architecture": "qwen3moe", ...Object.fromEntries(keys) };
  return { format: "gguf", name: "wide", size: offset, metadata, tensors };
}

/** Byte ranges of a tensor that pages take, in file order. */
function rangesOf({ pages }: ModelPages, tensor: string) {
  return pages
    .flatMap(({ parts }) => parts)
    .filter((part) => part.tensor === tensor)
    .map(({ source }) => source)
    .sort((a, b) => a.offset - b.offset);
}

/** Scales of one number are there once for every piece of their matrix; nothing else is there twice. */
function expectCovered(file: ModelFile, pages: ModelPages): void {
  for (const { name, offset, bytes } of file.tensors) {
    const ranges = rangesOf(pages, name);
    // Scales for the inputs of quantised products, which nothing here computes.
    if (name.endsWith(".input_scale")) expect(ranges, name).toEqual([]);
    else if (bytes === 4) {
      expect(ranges.length, name).toBeGreaterThan(0);
      for (const range of ranges) expect(range, name).toEqual({ offset, bytes });
    } else {
      let at = offset;
      for (const range of ranges) {
        expect(range.offset, name).toBe(at);
        at += range.bytes;
      }
      expect(at, name).toBe(offset + bytes);
    }
  }
}

/** Parts follow each other without overlap, aligned, within their page. */
function expectPacked({ label, parts, bytes }: PagePlan): void {
  let end = 0;
  for (const part of parts) {
    expect(part.offset % ALIGNMENT_BYTES, label).toBe(0);
    expect(part.offset, label).toBeGreaterThanOrEqual(end);
    end = part.offset + part.bytes;
  }
  expect(bytes % ALIGNMENT_BYTES, label).toBe(0);
  expect(bytes, label).toBeGreaterThanOrEqual(end);
  expect(bytes - end, label).toBeLessThan(ALIGNMENT_BYTES);
}

function expectSound(file: ModelFile): ModelPages {
  const pages = planPages(planModel(file));
  pages.pages.forEach(({ index }, i) => {
    expect(index).toBe(i);
  });
  for (const page of pages.pages) expectPacked(page);
  const grouped = [...pages.denseGroups, ...pages.sites].flat().filter((page) => page !== undefined);
  expect(grouped.toSorted((a, b) => a.index - b.index)).toEqual(pages.pages);
  for (const page of pages.denseGroups.flat())
    expect(page.bytes, page.label).toBeLessThanOrEqual(PIECE_BYTES);
  for (const site of pages.sites) expect(new Set(site.flatMap((page) => page?.bytes ?? [])).size).toBe(1);
  const parts = pages.pages.flatMap((page) => page.parts);
  expect(pages.sourceBytes).toBe(parts.reduce((sum, { source }) => sum + source.bytes, 0));
  expectCovered(file, pages);
  return pages;
}

test("a page for each expert, and one for each layer's dense tensors where they are small", async () => {
  const pages = expectSound(await headerOf(tinyStoriesModel()));
  expect(pages.sites.map((site) => site.length)).toEqual([16, 16, 16, 16, 16, 16]);
  // Embedding, six layers, the final norm: the output is the embedding.
  expect(pages.denseGroups.map((group) => group.length)).toEqual([1, 1, 1, 1, 1, 1, 1, 1]);
});

test("scales lie behind their matrices in an expert's page", async () => {
  const pages = expectSound(await headerOf(smallModel()));
  expect(pages.sites[1]?.[5]?.parts.map(({ tensor, rows, cols }) => `${tensor} ${rows}x${cols}`)).toEqual([
    ...["blk.1.ffn_gate_exps.weight 128x128", "blk.1.ffn_gate_exps.scale 1x1"],
    ...["blk.1.ffn_up_exps.weight 128x128", "blk.1.ffn_up_exps.scale 1x1"],
    ...["blk.1.ffn_down_exps.weight 128x128", "blk.1.ffn_down_exps.scale 1x1"],
  ]);
});

test("an output of 330 MB is cut into pieces of rows, each with its bias and the scale", () => {
  const file = wideFile();
  const pages = expectSound(file);
  const output = file.tensors.find(({ name }) => name === "output.weight") as TensorInfo;
  expect(output.bytes).toBeGreaterThan(300e6);
  const pieces = (pages.denseGroups.at(-1) ?? []).flatMap(({ parts }) => {
    const named = (name: string) => parts.find(({ tensor }) => tensor === name) as PagePart;
    if (!named("output.weight")) return [];
    const [matrix, bias, scale] = [named("output.weight"), named("output.bias"), named("output.scale")];
    expect(bias).toMatchObject({ type: "F16", stored: "F32", rows: 1, cols: matrix.rows });
    expect(scale).toMatchObject({ rows: 1, cols: 1 });
    return [{ rows: matrix.rows, first: matrix.source.offset, bias: bias.source.offset }];
  });
  expect(pieces.length).toBeGreaterThan(19);
  expect(pieces.reduce((sum, { rows }) => sum + rows, 0)).toBe(151_936);
  const rowBytes = output.bytes / 151_936;
  const biasStart = file.tensors.find(({ name }) => name === "output.bias")?.offset ?? 0;
  for (const { first, bias } of pieces)
    expect((bias - biasStart) / 2).toBe((first - output.offset) / rowBytes);
});

test("a layer above 16 MiB takes several pages, a matrix of 32 MiB among them", () => {
  const pages = expectSound(wideFile());
  const layer = pages.denseGroups[1] ?? [];
  expect(layer.length).toBeGreaterThan(2);
  const pieces = layer.flatMap(({ parts }) => parts).filter(({ tensor }) => tensor === "blk.0.attn_q.weight");
  expect(pieces.length).toBeGreaterThan(1);
});
