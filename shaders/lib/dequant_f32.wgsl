// 32 weights of one row: group g of row r of a matrix that starts at vector `base` and has `rows` rows.
fn dequant_f32(base: u32, rows: u32, cols: u32, row: u32, group: u32) -> array<vec4f, 8> {
  var w: array<vec4f, 8>;
  for (var j = 0u; j < 8u; j++) {
    w[j] = bitcast<vec4f>(weights[base + (group * 8u + j) * rows + row]);
  }
  return w;
}
