// w = d · (scale − 32) · (q − 4), q 3-bit, scale 6-bit per 16 weights, d per 256.
fn dequant_q3_k(base: u32, rows: u32, cols: u32, row: u32, group: u32) -> array<vec4f, 8> {
  let groups = cols / 32u * rows;
  let pairs = weights[base + group / 2u * rows + row];
  let high = word_at(base + groups / 2u, group * rows + row);
  let head = weights[base + groups / 2u + groups / 4u + group / 8u * rows + row];
  // Two bytes of the file's twelve: 4 lower bits of a scale in the first eight, 2 upper bits in the last four.
  let g = group & 7u;
  let shift = 16u * (g & 1u);
  let lower = (head[(g >> 1u) & 1u] >> (shift + 4u * (g >> 2u))) & 0x0f0fu;
  let upper = (head.z >> (shift + 2u * (g >> 1u))) & 0x0303u;
  let scales = lower | (upper << 4u);
  let s = unpack2x16float(head.w).x * (vec2f(vec2u(scales & 255u, scales >> 8u)) - 32.0);
  return affine32(threes32(select(pairs.xy, pairs.zw, (group & 1u) == 1u), high), s, 4.0 * s);
}
