// As Q4_K, q 5-bit.
fn dequant_q5_k(base: u32, rows: u32, cols: u32, row: u32, group: u32) -> array<vec4f, 8> {
  let groups = cols / 32u * rows;
  let unit = group * rows + row;
  let high = word_at(base + groups, unit);
  let heads = base + groups + word_plane(groups);
  let s = k_scale(weights[heads + group / 8u * rows + row], group);
  return affine32(fives32(weights[base + unit], high), s.xx, s.yy);
}
