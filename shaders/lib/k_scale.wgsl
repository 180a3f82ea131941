// Scale and minimum of 32 weights from the head of 256 in Q4_K and Q5_K: d and dmin (f16), and for each group a
// scale and a minimum of 6 bits in 12 bytes.
fn k_scale(head: vec4u, group: u32) -> vec2f {
  let g = group & 7u;
  let shift = 8u * (g & 3u);
  let a = head.y >> shift;
  let b = head.z >> shift;
  let c = head.w >> shift;
  // Groups 4 to 7 keep their lower 4 bits in the last word and the upper 2 above the first four's.
  let upper = g > 3u;
  let scale = select(a & 63u, (c & 15u) | ((a >> 2u) & 48u), upper);
  let minimum = select(b & 63u, ((c >> 4u) & 15u) | ((b >> 2u) & 48u), upper);
  return unpack2x16float(head.x) * vec2f(f32(scale), f32(minimum));
}
