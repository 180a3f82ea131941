// w = d · level(q), q 4-bit.
fn dequant_iq4_nl(base: u32, rows: u32, cols: u32, row: u32, group: u32) -> array<vec4f, 8> {
  let unit = group * rows + row;
  let d = half_at(base + cols / 32u * rows, unit);
  return affine32(levels32(weights[base + unit], IQ4_LEVELS), vec2f(d), vec2f());
}
