// w = (d · scale) · q − dmin · min, q 4-bit, scale and min 6-bit per 32 weights, d and dmin per 256.
fn dequant_q4_k(base: u32, rows: u32, cols: u32, row: u32, group: u32) -> array<vec4f, 8> {
  let q = weights[base + group * rows + row];
  let head = weights[base + (cols / 32u + group / 8u) * rows + row];
  let g = group & 7u;
  let shift = 8u * (g & 3u);
  let a = head.y >> shift;
  let b = head.z >> shift;
  let c = head.w >> shift;
  // Groups 4 to 7 keep their lower 4 bits in the last word and the upper 2 above the first four's.
  let upper = g > 3u;
  let scale = select(a & 63u, (c & 15u) | ((a >> 2u) & 48u), upper);
  let minimum = select(b & 63u, ((c >> 4u) & 15u) | ((b >> 2u) & 48u), upper);
  let d = unpack2x16float(head.x);
  let ds = d.x * f32(scale);
  let dm = d.y * f32(minimum);
  return array<vec4f, 8>(
    ds * low_nibbles(q.x) - dm,
    ds * low_nibbles(q.y) - dm,
    ds * low_nibbles(q.z) - dm,
    ds * low_nibbles(q.w) - dm,
    ds * high_nibbles(q.x) - dm,
    ds * high_nibbles(q.y) - dm,
    ds * high_nibbles(q.z) - dm,
    ds * high_nibbles(q.w) - dm,
  );
}
