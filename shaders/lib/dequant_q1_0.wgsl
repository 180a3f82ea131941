// w = d · (2q − 1), q 1-bit, d per 128.
fn dequant_q1_0(base: u32, rows: u32, cols: u32, row: u32, group: u32) -> array<vec4f, 8> {
  let groups = cols / 32u * rows;
  let d = half_at(base + word_plane(groups), group / 4u * rows + row);
  return affine32(bits32(word_at(base, group * rows + row)), vec2f(2.0 * d), vec2f(d));
}
