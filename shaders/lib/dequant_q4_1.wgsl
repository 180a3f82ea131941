// w = d · q + m, q 4-bit.
fn dequant_q4_1(base: u32, rows: u32, cols: u32, row: u32, group: u32) -> array<vec4f, 8> {
  let unit = group * rows + row;
  let dm = unpack2x16float(word_at(base + cols / 32u * rows, unit));
  return affine32(nibbles32(weights[base + unit]), dm.xx, -dm.yy);
}
