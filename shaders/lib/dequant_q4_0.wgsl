// w = d · (q − 8), q 4-bit.
fn dequant_q4_0(base: u32, rows: u32, cols: u32, row: u32, group: u32) -> array<vec4f, 8> {
  let q = weights[base + group * rows + row];
  let d = half_at(base + cols / 32u * rows, group * rows + row);
  var w: array<vec4f, 8>;
  for (var j = 0u; j < 4u; j++) {
    w[j] = d * (bytes(q[j] & 0x0f0f0f0fu) - 8.0);
    w[4u + j] = d * (bytes((q[j] >> 4u) & 0x0f0f0f0fu) - 8.0);
  }
  return w;
}
