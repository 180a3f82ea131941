// w = d · (q − 1), q 2-bit, d per 256.
fn dequant_tq2_0(base: u32, rows: u32, cols: u32, row: u32, group: u32) -> array<vec4f, 8> {
  let pairs = weights[base + group / 2u * rows + row];
  let d = half_at(base + cols / 64u * rows, group / 8u * rows + row);
  return affine32(pairs32(select(pairs.xy, pairs.zw, (group & 1u) == 1u)), vec2f(d), vec2f(d));
}
