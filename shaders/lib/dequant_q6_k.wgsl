// w = d · scale · (q − 32), q 6-bit, scale signed 8-bit per 16 weights, d per 256.
fn dequant_q6_k(base: u32, rows: u32, cols: u32, row: u32, group: u32) -> array<vec4f, 8> {
  let high_plane = base + cols / 32u * rows;
  let scale_plane = high_plane + cols / 64u * rows;
  let d_plane = scale_plane + cols / 256u * rows;
  let q = weights[base + group * rows + row];
  let high = weights[high_plane + group / 2u * rows + row];
  let scales = weights[scale_plane + group / 8u * rows + row];
  let d = half_at(d_plane, group / 8u * rows + row);
  let word = scales[(group >> 1u) & 3u] >> (16u * (group & 1u));
  let s = d * vec2f(f32(bitcast<i32>(word << 24u) >> 24u), f32(bitcast<i32>(word << 16u) >> 24u));
  let bits = select(high.xy, high.zw, (group & 1u) == 1u);
  var w: array<vec4f, 8>;
  for (var j = 0u; j < 4u; j++) {
    let upper = 2u * j;
    w[j] = s.x * (bytes((q[j] & 0x0f0f0f0fu) | (((bits.x >> upper) & 0x03030303u) << 4u)) - 32.0);
    w[4u + j] = s.y * (bytes(((q[j] >> 4u) & 0x0f0f0f0fu) | (((bits.y >> upper) & 0x03030303u) << 4u)) - 32.0);
  }
  return w;
}
