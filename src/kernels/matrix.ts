import bytes from "../../shaders/lib/bytes.wgsl?raw";
import dequantBF16 from "../../shaders/lib/dequant_bf16.wgsl?raw";
import dequantF16 from "../../shaders/lib/dequant_f16.wgsl?raw";
import dequantF32 from "../../shaders/lib/dequant_f32.wgsl?raw";
import dequantIQ3_S from "../../shaders/lib/dequant_iq3_s.wgsl?raw";
import dequantIQ4_NL from "../../shaders/lib/dequant_iq4_nl.wgsl?raw";
import dequantIQ4_XS from "../../shaders/lib/dequant_iq4_xs.wgsl?raw";
import dequantMXFP4 from "../../shaders/lib/dequant_mxfp4.wgsl?raw";
import dequantQ1_0 from "../../shaders/lib/dequant_q1_0.wgsl?raw";
import dequantQ2_K from "../../shaders/lib/dequant_q2_k.wgsl?raw";
import dequantQ3_K from "../../shaders/lib/dequant_q3_k.wgsl?raw";
import dequantQ4_0 from "../../shaders/lib/dequant_q4_0.wgsl?raw";
import dequantQ4_1 from "../../shaders/lib/dequant_q4_1.wgsl?raw";
import dequantQ4_K from "../../shaders/lib/dequant_q4_k.wgsl?raw";
import dequantQ5_0 from "../../shaders/lib/dequant_q5_0.wgsl?raw";
import dequantQ5_1 from "../../shaders/lib/dequant_q5_1.wgsl?raw";
import dequantQ5_K from "../../shaders/lib/dequant_q5_k.wgsl?raw";
import dequantQ6_K from "../../shaders/lib/dequant_q6_k.wgsl?raw";
import dequantQ8_0 from "../../shaders/lib/dequant_q8_0.wgsl?raw";
import dequantTQ1_0 from "../../shaders/lib/dequant_tq1_0.wgsl?raw";
import dequantTQ2_0 from "../../shaders/lib/dequant_tq2_0.wgsl?raw";
import halfAt from "../../shaders/lib/half_at.wgsl?raw";
import iq4Levels from "../../shaders/lib/iq4_levels.wgsl?raw";
import kScale from "../../shaders/lib/k_scale.wgsl?raw";
import levels32 from "../../shaders/lib/levels32.wgsl?raw";
import quants32 from "../../shaders/lib/quants32.wgsl?raw";
import wordAt from "../../shaders/lib/word_at.wgsl?raw";

import type { TensorType } from "../quant/formats.ts";

/** Bytes of the unit that shaders address weights in, `vec4u`. */
export const VECTOR_BYTES = 16;

/** Rows of a matrix in a GPU buffer, in the layout of `quant/layout.ts`. */
export interface MatrixPiece {
  readonly buffer: GPUBuffer;
  readonly type: TensorType;
  /** First vector of the matrix in the buffer. */
  readonly base: number;
  readonly rows: number;
  readonly cols: number;
  /** First vector of one f32 per row, added to the product. */
  readonly bias?: number;
  /** First vector of a single f32 that multiplies the product, before the bias. */
  readonly scale?: number;
}

/** What most types are read with. */
const shared = [bytes, quants32, halfAt, wordAt];

const dequantSnippets: Partial<Record<TensorType, readonly string[]>> = {
  F32: [dequantF32],
  F16: [dequantF16],
  BF16: [dequantBF16],
  Q8_0: [halfAt, bytes, dequantQ8_0],
  Q4_0: [halfAt, bytes, dequantQ4_0],
  Q4_1: [...shared, dequantQ4_1],
  Q5_0: [...shared, dequantQ5_0],
  Q5_1: [...shared, dequantQ5_1],
  Q2_K: [...shared, dequantQ2_K],
  Q3_K: [...shared, dequantQ3_K],
  Q4_K: [bytes, kScale, dequantQ4_K],
  Q5_K: [...shared, kScale, dequantQ5_K],
  Q6_K: [halfAt, bytes, dequantQ6_K],
  IQ4_NL: [...shared, levels32, iq4Levels, dequantIQ4_NL],
  IQ4_XS: [...shared, levels32, iq4Levels, dequantIQ4_XS],
  IQ3_S: [...shared, dequantIQ3_S],
  MXFP4: [...shared, levels32, dequantMXFP4],
  TQ1_0: [...shared, dequantTQ1_0],
  TQ2_0: [...shared, dequantTQ2_0],
  Q1_0: [...shared, dequantQ1_0],
};

export function dequantOf(types: readonly TensorType[]): string[] {
  return types.flatMap((type) => {
    const snippets = dequantSnippets[type];
    if (!snippets) throw new Error(`no shader reads ${type}`);
    return [...snippets];
  });
}

/** A piece and the output row its first row goes to. */
export interface StackedPiece {
  readonly piece: MatrixPiece;
  readonly out: number;
}

/** Pieces of one type in one buffer, which one step can read. */
export interface Stack {
  readonly stack: readonly StackedPiece[];
  readonly buffer: GPUBuffer;
  readonly type: TensorType;
  readonly rows: number;
  readonly cols: number;
}

/** Puts the rows of `pieces` one after the other as outputs and sorts the pieces by buffer and type. */
export function stacksOf(pieces: readonly MatrixPiece[]): Stack[] {
  const stacks: { buffer: GPUBuffer; type: TensorType; rows: number; cols: number; stack: StackedPiece[] }[] =
    [];
  let out = 0;
  for (const piece of pieces) {
    const { buffer, type, rows, cols } = piece;
    let home = stacks.find((stack) => stack.buffer === buffer && stack.type === type);
    if (!home) {
      home = { buffer, type, rows: 0, cols, stack: [] };
      stacks.push(home);
    }
    home.stack.push({ piece, out });
    home.rows += rows;
    out += rows;
  }
  return stacks;
}

/**
 * WGSL for several matrices of one type and input as one: `piece(row)` finds the matrix of a row, `weight`,
 * `scale` and `bias` read it. Selection is by value, not by branch, so that it costs no divergence.
 */
export function stackCode(stack: readonly StackedPiece[], type: TensorType, cols: number): string {
  const NONE = 0xffffffff;
  let first = 0;
  const cases = stack.map(({ piece, out }) => {
    const { base, rows, bias = NONE, scale = NONE } = piece;
    const fields = [
      `${base}u`,
      `${rows}u`,
      `row - ${first}u`,
      `row - ${first}u + ${out}u`,
      `${bias}u`,
      `${scale}u`,
    ];
    const line = `  if (row >= ${first}u) { p = Piece(${fields.join(", ")}); }`;
    first += rows;
    return line;
  });
  const any = (key: "bias" | "scale") => stack.some(({ piece }) => piece[key] !== undefined);
  return [
    "struct Piece { base: u32, rows: u32, row: u32, out: u32, bias: u32, scale: u32 }",
    `fn piece(row: u32) -> Piece {\n  var p: Piece;\n${cases.join("\n")}\n  return p;\n}`,
    `fn weight(p: Piece, group: u32) -> array<vec4f, 8> {`,
    `  return dequant_${type.toLowerCase()}(p.base, p.rows, ${cols}u, p.row, group);\n}`,
    optional("scale", "p: Piece", any("scale"), "1.0", "p.scale", "0u"),
    optional("bias", "p: Piece", any("bias"), "0.0", "p.bias", "p.row"),
  ].join("\n");
}

/** A function that reads the f32 at index `at` of vector `vector`, or gives `neutral` where there is none. */
function optional(
  name: string,
  of: string,
  some: boolean,
  neutral: string,
  vector: string,
  at: string,
): string {
  if (!some) return `fn ${name}(${of}) -> f32 { return ${neutral}; }`;
  const read = `bitcast<f32>(weights[${vector} + ${at} / 4u][${at} % 4u])`;
  return `fn ${name}(${of}) -> f32 {\n  if (${vector} == 0xffffffffu) { return ${neutral}; }\n  return ${read};\n}`;
}

/**
 * One matrix of an expert page: `base`, `scale` and `bias` count vectors from the start of the page. As in llama.cpp's
 * `build_moe_ffn` an expert gives (W x) · scale + bias.
 */
export type PageMatrix = Omit<MatrixPiece, "buffer">;

/**
 * WGSL for a matrix inside a page at vector `page`: `name(page, row, group)` reads it, `name_finish(page, row, product)`
 * scales a row's product and adds the row's bias.
 */
export function pageMatrixCode(name: string, { type, base, rows, cols, scale, bias }: PageMatrix): string {
  const scaled = scale === undefined ? "product" : `${pageFloat(scale, "0u")} * product`;
  const finished = bias === undefined ? scaled : `${scaled} + ${pageFloat(bias, "row")}`;
  return [
    `fn ${name}(page: u32, row: u32, group: u32) -> array<vec4f, 8> {`,
    `  return dequant_${type.toLowerCase()}(page + ${base}u, ${rows}u, ${cols}u, row, group);\n}`,
    `fn ${name}_finish(page: u32, row: u32, product: f32) -> f32 {\n  return ${finished};\n}`,
  ].join("\n");
}

/** The f32 at index `at` of vector `vector` of the page. */
function pageFloat(vector: number, at: string): string {
  return `bitcast<f32>(weights[page + ${vector}u + ${at} / 4u][${at} % 4u])`;
}
