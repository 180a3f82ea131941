fn dequant_f16(base: u32, rows: u32, cols: u32, row: u32, group: u32) -> array<vec4f, 8> {
  var w: array<vec4f, 8>;
  for (var j = 0u; j < 4u; j++) {
    let q = weights[base + (group * 4u + j) * rows + row];
    w[2u * j] = vec4f(unpack2x16float(q.x), unpack2x16float(q.y));
    w[2u * j + 1u] = vec4f(unpack2x16float(q.z), unpack2x16float(q.w));
  }
  return w;
}
