// w = (d · scale) · q − dmin · min, q 2-bit, scale and min 4-bit per 16 weights, d and dmin per 256.
fn dequant_q2_k(base: u32, rows: u32, cols: u32, row: u32, group: u32) -> array<vec4f, 8> {
  let blocks = cols / 256u * rows;
  let block = group / 8u * rows + row;
  let pairs = weights[base + group / 2u * rows + row];
  let scales = weights[base + 4u * blocks + block][(group >> 1u) & 3u] >> (16u * (group & 1u));
  let d = unpack2x16float(word_at(base + 5u * blocks, block));
  return affine32(
    pairs32(select(pairs.xy, pairs.zw, (group & 1u) == 1u)),
    d.x * vec2f((vec2u(scales) >> vec2u(0u, 8u)) & vec2u(15u)),
    d.y * vec2f((vec2u(scales) >> vec2u(4u, 12u)) & vec2u(15u)),
  );
}
