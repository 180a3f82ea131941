// w = d · q, q signed 8-bit.
fn dequant_q8_0(base: u32, rows: u32, cols: u32, row: u32, group: u32) -> array<vec4f, 8> {
  let a = weights[base + 2u * group * rows + row];
  let b = weights[base + (2u * group + 1u) * rows + row];
  let d = half_at(base + cols / 16u * rows, group * rows + row);
  return array<vec4f, 8>(
    d * signed_bytes(a.x),
    d * signed_bytes(a.y),
    d * signed_bytes(a.z),
    d * signed_bytes(a.w),
    d * signed_bytes(b.x),
    d * signed_bytes(b.y),
    d * signed_bytes(b.z),
    d * signed_bytes(b.w),
  );
}
