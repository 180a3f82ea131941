// w = (d · scale) · q − dmin · min, q 4-bit, scale and min 6-bit per 32 weights, d and dmin per 256.
fn dequant_q4_k(base: u32, rows: u32, cols: u32, row: u32, group: u32) -> array<vec4f, 8> {
  let q = weights[base + group * rows + row];
  let s = k_scale(weights[base + (cols / 32u + group / 8u) * rows + row], group);
  return array<vec4f, 8>(
    s.x * low_nibbles(q.x) - s.y,
    s.x * low_nibbles(q.y) - s.y,
    s.x * low_nibbles(q.z) - s.y,
    s.x * low_nibbles(q.w) - s.y,
    s.x * high_nibbles(q.x) - s.y,
    s.x * high_nibbles(q.y) - s.y,
    s.x * high_nibbles(q.z) - s.y,
    s.x * high_nibbles(q.w) - s.y,
  );
}
