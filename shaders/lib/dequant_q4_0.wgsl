// w = d · (q − 8), q 4-bit.
fn dequant_q4_0(base: u32, rows: u32, cols: u32, row: u32, group: u32) -> array<vec4f, 8> {
  let q = weights[base + group * rows + row];
  let d = half_at(base + cols / 32u * rows, group * rows + row);
  return array<vec4f, 8>(
    d * (low_nibbles(q.x) - 8.0),
    d * (low_nibbles(q.y) - 8.0),
    d * (low_nibbles(q.z) - 8.0),
    d * (low_nibbles(q.w) - 8.0),
    d * (high_nibbles(q.x) - 8.0),
    d * (high_nibbles(q.y) - 8.0),
    d * (high_nibbles(q.z) - 8.0),
    d * (high_nibbles(q.w) - 8.0),
  );
}
