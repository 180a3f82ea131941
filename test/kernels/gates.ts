import { halfToFloat } from "../../src/quant/floats.ts";

/** Half a unit in the last of the 11 bits of f16. */
export const HALF_TOLERANCE = 2 ** -11;

/** The floats of gates [sites, cols / 8, experts, 8] as [sites, experts, cols]. */
export function rowsOf(words: Uint32Array, experts: number, cols: number): Float32Array {
  const halves = new Uint16Array(words.buffer, words.byteOffset, 2 * words.length);
  return Float32Array.from(halves, (_, i) => {
    const [c, row] = [i % cols, Math.floor(i / cols)];
    const unit = (Math.floor(row / experts) * cols) / 8 + Math.floor(c / 8);
    return halfToFloat(halves[(unit * experts + (row % experts)) * 8 + (c % 8)] as number);
  });
}
