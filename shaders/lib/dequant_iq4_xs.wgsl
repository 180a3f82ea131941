// w = d · (scale − 32) · level(q), q 4-bit, scale 6-bit per 32 weights, d per 256.
fn dequant_iq4_xs(base: u32, rows: u32, cols: u32, row: u32, group: u32) -> array<vec4f, 8> {
  let block = group / 8u * rows + row;
  let heads = weights[base + cols / 32u * rows + block / 2u];
  let head = select(heads.xy, heads.zw, (block & 1u) == 1u);
  let g = group & 7u;
  let scale = ((head.y >> (4u * g)) & 15u) | (((head.x >> (16u + 2u * g)) & 3u) << 4u);
  let s = unpack2x16float(head.x).x * (f32(scale) - 32.0);
  return affine32(levels32(weights[base + group * rows + row], IQ4_LEVELS), vec2f(s), vec2f());
}
