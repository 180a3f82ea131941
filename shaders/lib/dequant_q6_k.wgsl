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
  return array<vec4f, 8>(
    s.x * six_bits(q.x, bits.x),
    s.x * six_bits(q.y, bits.x >> 2u),
    s.x * six_bits(q.z, bits.x >> 4u),
    s.x * six_bits(q.w, bits.x >> 6u),
    s.y * six_bits(q.x >> 4u, bits.y),
    s.y * six_bits(q.y >> 4u, bits.y >> 2u),
    s.y * six_bits(q.z >> 4u, bits.y >> 4u),
    s.y * six_bits(q.w >> 4u, bits.y >> 6u),
  );
}

// Four quants from four low nibbles and, in the same bytes, four pairs of upper bits.
fn six_bits(low: u32, upper: u32) -> vec4f {
  return bytes((low & 0x0f0f0f0fu) | ((upper & 0x03030303u) << 4u)) - 32.0;
}
