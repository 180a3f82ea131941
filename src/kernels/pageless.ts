import constantsNone from "../../shaders/lib/constants_none.wgsl?raw";
import constantsSome from "../../shaders/lib/constants_some.wgsl?raw";
import outputsPageless from "../../shaders/lib/outputs_pageless.wgsl?raw";
import outputsRows from "../../shaders/lib/outputs_rows.wgsl?raw";
import type { Constants } from "../gpu/compose.ts";
import type { BoundBuffers } from "../gpu/pipelines.ts";
import type { VectorPiece } from "./rmsnorm.ts";

/** Experts `first` to `first + count − 1`. */
export interface ExpertRange {
  readonly first: number;
  readonly count: number;
}

/** Experts without a page: what they give is told from what they read. */
export interface PagelessExperts {
  readonly zeros: readonly ExpertRange[];
  /** They give what they read. */
  readonly copies: readonly ExpertRange[];
  /** a · what it reads + b · vector, [a, b] the softmax of its two of `logits`. In one buffer. */
  readonly constants: readonly { readonly expert: number; readonly vector: VectorPiece }[];
  /** [tokens, cols] f32: they read `inputScale` times this. */
  readonly input: GPUBuffer;
  readonly inputScale: number;
  /** [tokens, constants, 2] f32 */
  readonly logits: GPUBuffer;
}

/** WGSL `name(e)`: whether expert e is in one of these ranges. */
export function rangesCode(name: string, ranges: readonly ExpertRange[]): string {
  const tests = ranges.map(({ first, count }) => `e - ${first}u < ${count}u`);
  return `fn ${name}(e: u32) -> bool { return ${tests.join(" || ") || "false"}; }`;
}

/** WGSL `output_of(pair, t, c)`: a vector of what a pair's expert gives, and what it takes besides. */
export function outputsCode(pageless: PagelessExperts | undefined): {
  snippets: readonly string[];
  constants: Constants;
  buffers: BoundBuffers;
} {
  if (!pageless) return { snippets: [outputsRows], constants: {}, buffers: {} };
  const { zeros, copies, constants, input, inputScale, logits } = pageless;
  const [first] = constants;
  return {
    snippets: [
      ...[outputsPageless, rangesCode("is_zero", zeros), rangesCode("is_copy", copies)],
      ...(first ? [constantsSome, constantsCode(constants)] : [constantsNone]),
    ],
    constants: { INPUT_SCALE: { f32: inputScale } },
    buffers: { input, ...(first && { constants: first.vector.buffer, constant_logits: logits }) },
  };
}

/** WGSL for the number of an expert among the constants, and where in the page its vector begins. */
function constantsCode(constants: PagelessExperts["constants"]): string {
  const choose = (of: string, by: string, cases: readonly (readonly [number, number])[], other: string) =>
    [
      `fn ${of}(${by}: u32) -> u32 {\n  switch (${by}) {`,
      ...cases.map(([value, result]) => `    case ${value}u: { return ${result}u; }`),
      `    default: { return ${other}; }\n  }\n}`,
    ].join("\n");
  return [
    `const CONSTANTS = ${constants.length}u;`,
    choose(
      "constant_of",
      "e",
      [...constants.entries()].map(([i, { expert }]) => [expert, i]),
      "CONSTANTS",
    ),
    choose(
      "constant_base",
      "i",
      [...constants.entries()].map(([i, { vector }]) => [i, vector.base]),
      "0u",
    ),
  ].join("\n");
}
