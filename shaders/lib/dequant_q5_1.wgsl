// w = d · q + m, q 5-bit.
fn dequant_q5_1(base: u32, rows: u32, cols: u32, row: u32, group: u32) -> array<vec4f, 8> {
  let groups = cols / 32u * rows;
  let unit = group * rows + row;
  let high = word_at(base + groups, unit);
  let dm = unpack2x16float(word_at(base + groups + word_plane(groups), unit));
  return affine32(fives32(weights[base + unit], high), dm.xx, -dm.yy);
}
