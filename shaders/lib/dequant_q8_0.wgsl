// w = d · q, q signed 8-bit.
fn dequant_q8_0(base: u32, rows: u32, cols: u32, row: u32, group: u32) -> array<vec4f, 8> {
  let scales = base + cols / 16u * rows;
  let d = half_at(scales, group * rows + row);
  var w: array<vec4f, 8>;
  for (var h = 0u; h < 2u; h++) {
    let q = weights[base + (2u * group + h) * rows + row];
    for (var j = 0u; j < 4u; j++) {
      w[4u * h + j] = d * vec4f(bitcast<vec4i>(vec4u(q[j]) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u));
    }
  }
  return w;
}
